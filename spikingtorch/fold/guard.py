"""What a network holds and can read, and whether it is still the same.

A decision about a network is good as long as nothing has changed that its code can read: the attributes of its modules,
what lies inside them, the functions of their classes, and what these read of globals and of variables that they close
over. ``Look`` walks through all of it once, and leaves a guard that sees by identity whether anything has changed.
"""

import copyreg
import types
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikingtorch.fold.hooks import HOOKS, computed_attributes, hooks_of_all_modules
from spikingtorch.fold.outside import Outside
from spikingtorch.functional.core.bytecode import (
    DEFINITIONS,
    FIXED,
    cells_of,
    module_of,
    reads_of,
)
from spikingtorch.functional.core.guard import Guard
from spikingtorch.layers.base import StatefulLayer

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size, np.generic, Enum)
_OF_MODULES = set(vars(nn.Module()))
# of a spiking layer, which is there to change
_OF_LAYERS = {"_memory", "_fold", "_activity", "_recomputation", "_overtaken", "_repeated", "_dropped", "_repetitions"}
_EFFECTS = {"print", "open", "input", "breakpoint"}
_OPAQUE = {"globals", "locals", "eval", "exec", "__import__", "__globals__"}
_DYNAMIC = {"getattr", "vars", "__dict__", "hasattr"}  # read attributes whose name is in no code
_ASKS = {"is_inference_mode_enabled", "is_inference"}
_STANDARD = {"random", "time", "os", "sys", "copy", "itertools", "dataclasses", "contextlib", "warnings", "abc", "enum"}
# methods that no step calls
_ABOUT = {"__repr__", "__str__", "__eq__", "__hash__", "__new__", "__post_init__", "__replace__", "extra_repr"}
_LIMIT = 5000  # values
_LONG = 500  # entries of one container
_BYTES = 2**16  # of an array that is compared by value


def modules_of(net: nn.Module) -> list[nn.Module]:
    """Return what ``net.modules()`` yields, in its order; generators take three times as long."""
    if torch.compiler.is_compiling():
        return list(net.modules())
    found: dict[nn.Module, None] = {}
    ahead = [net]
    while ahead:
        module = ahead.pop()
        if module not in found:
            found[module] = None
            if module._modules:
                ahead += [child for child in reversed(module._modules.values()) if child is not None]
    return list(found)


def parameter_of(modules: Iterable[nn.Module]) -> Tensor | None:
    """Return the first parameter of modules themselves, or None if they have none."""
    for module in modules:
        for weight in module._parameters.values():
            if weight is not None:
                return weight
    return None


class Look:
    """All that the code of a network can read, as it is now.

    Args:
        net: the network.

    Attributes:
        reason: why nothing can be decided about it, after "it"; None if something can.
        remedy: what would let it fold.
        outside: what a copy of the network shares with it.
    """

    def __init__(self, net: nn.Module) -> None:
        names: set[str] = set()
        while True:  # functions that are found read more attributes
            walk = _Walk(net, names)
            if walk.names <= names:
                break
            names |= walk.names
        self.reason, self.remedy = walk.reason, walk.remedy
        self._marks, self._guard, self._hooks = walk.marks, walk.guard, walk.hooks
        self.outside = walk.outside
        self._hooked = hooks_of_all_modules()
        self._alive = walk.alive  # so that no other object takes the identity of one

    def holds(self) -> bool:
        """Say at once whether all is as it was; False as well where only another look can tell."""
        return not (any(self._hooks) or self._hooked or hooks_of_all_modules()) and self._guard.unchanged()

    def changed_since(self, before: "Look") -> tuple[str, ...]:
        """Return the names of what is not as it was."""
        one, other = before._marks, self._marks
        if one == other:
            return ()
        found = {name for name in one | other if name not in one or name not in other or one[name] != other[name]}
        return tuple(sorted(name for name in found if not any(name.startswith(f"{outer}.") for outer in found)))

    def same_as(self, before: "Look", changing: tuple[str, ...]) -> bool:
        """Say whether a network is as it was, but for attributes that it changes itself, of which the kind counts."""
        if not changing:
            return before._marks == self._marks
        if not all(self._kind(name) == before._kind(name) for name in changing):
            return False
        return all(name.startswith(changing) for name in self.changed_since(before))

    def _kind(self, name: str) -> object:
        mark = self._marks.get(name)
        return mark[0] if isinstance(mark, tuple) else mark


class _Walk:
    """One walk through a network, for attributes of some names."""

    def __init__(self, net: nn.Module, names: set[str]) -> None:
        self.names: set[str] = set()
        self.reason: str | None = None
        self.remedy = ""
        self.marks: dict[str, tuple[Any, ...]] = {}
        self.guard = Guard()
        self.hooks: list[Any] = []
        self.alive: list[Any] = []
        self.outside = Outside()
        self._is_outside = False
        self._read = names
        self._seen: set[int] = set()
        modules = modules_of(net)
        self._registered = {id(module) for module in modules}
        self._mark("hooks of all modules", net, hooks_of_all_modules())
        for path, module in net.named_modules():
            self._module(path, module)

    def _refuse(self, reason: str, remedy: str = "") -> None:
        if self.reason is None:
            self.reason, self.remedy = reason, remedy

    def _mark(self, name: str, value: Any, *what: Any) -> None:
        self.alive.append(value)
        self.marks[name] = (type(value), *what)
        if len(self.marks) > _LIMIT:
            self._refuse(f"reads more than {_LIMIT} values, too many to look through at each call")

    # --- modules ------------------------------------------------------------------------------------------------------

    def _module(self, path: str, module: nn.Module) -> None:
        self._seen.add(id(module))
        prefix = f"{path}." if path else ""
        self.guard.watch_attribute(module, "__class__")
        if isinstance(module, torch.jit.ScriptModule):
            self._mark(path, module, id(module), getattr(module, "training", None))
            self.guard.watch_nothing()  # a frozen one has no attributes
            return
        own, kind = vars(module), type(module)
        self._mark(path, module, kind, own.get("forward"))
        self._mark(f"{prefix}training", module.training, module.training)
        layer = isinstance(module, StatefulLayer)
        self.hooks += [own[hooks] for hooks in HOOKS]
        self._mark(f"{prefix}hooks", own, *[tuple(map(id, own[hooks].values())) for hooks in HOOKS])
        self.guard.watch_names(own, ("training", "forward", *HOOKS))
        for entries in ("_modules", "_buffers"):
            self.guard.watch_mapping(own[entries])
            for name, value in own[entries].items():
                self._mark(f"{prefix}{entries}.{name}", value, id(value))
        torchs = module_of(kind) == "torch"
        if not layer:
            self.guard.watch_mapping(own)
        for name in [name for name in own if name not in _OF_MODULES | computed_attributes(module)]:
            if self._changes_params(kind, name) if layer else torchs or self._reads(name):
                self._value(f"{prefix}{name}", own[name], deep=not torchs)
        self._classes(f"{prefix}{kind.__name__}", kind)

    def _reads(self, name: str) -> bool:
        return name in self._read or not self._read.isdisjoint(_DYNAMIC)

    def _changes_params(self, kind: type, name: str) -> bool:
        """Whether an attribute is one that a user's subclass of a layer may compute parameters from."""
        return module_of(kind) not in FIXED and name not in _OF_LAYERS and self._reads(name)

    def _classes(self, name: str, kind: type) -> None:
        for base in kind.__mro__:
            if base is object or module_of(base) in FIXED or id(base) in self._seen:
                continue
            self._seen.add(id(base))
            copyreg._slotnames(base)  # type: ignore[attr-defined]  # copies note it in the class
            self.guard.watch_mapping(vars(base))
            self.outside.keep_attributes(base)
            for key, item in list(vars(base).items()):
                if key not in _ABOUT and (key != "__init__" or not issubclass(base, nn.Module)):
                    self._member(f"{name}.{key}", item, self._reads(key))

    def _member(self, name: str, item: Any, read: bool) -> None:
        """Look at what a class defines: a method, what computes an attribute, or a value that is read."""
        found = (item.fget, item.fset) if isinstance(item, property) else (getattr(item, "func", item),)
        for member in found:
            function = member.__func__ if isinstance(member, staticmethod | classmethod) else member
            if isinstance(function, types.FunctionType):
                self._function(name, function)
            elif read and not hasattr(type(member), "__get__"):
                with self._from_outside():
                    self._value(name, member)

    # --- code ---------------------------------------------------------------------------------------------------------

    def _function(self, name: str, function: types.FunctionType) -> None:
        if id(function) in self._seen:
            return
        self._seen.add(id(function))
        self.guard.watch_function(function)
        self._mark(name, function, function.__code__)
        cells = cells_of(function)
        if module_of(function) in FIXED:  # a wrapper of torch's, say, around a function of the user's
            for cell in cells:
                self._value(f"{name}.<closure>", cell, deep=False)
            return
        reads = reads_of(function.__code__)
        self.guard.watch_names(function.__globals__, reads.names)
        if "site-packages" in function.__code__.co_filename:  # what is installed is there to be used by many
            return
        self.names.update(reads.attributes, reads.names, reads.stores)
        told = {*reads.names, *reads.attributes}
        if reads.rebinds:
            self._refuse(
                f"assigns to {reads.rebinds}, a variable outside of it", "return the value, or keep it in self"
            )
        if reads.stores and told & {"type", "__class__"}:
            self._refuse("may change an attribute of a class", "keep it in an attribute of self")
        if effects := told & _EFFECTS:
            self._refuse(f"calls {min(effects)}, which is to be called at each step", "leave that call out")
        if hidden := {*reads.names} & _OPAQUE | told & _ASKS:
            self._refuse(f"calls {min(hidden)}, behind which nobody can look", "write what it stands for")
        space = function.__globals__
        self.outside.keep_names(space, reads.names)
        self.outside.keep_cells(function.__closure__ or (), cells)
        outside = {key: space[key] for key in reads.names if key in space}
        outside |= dict(zip(function.__code__.co_freevars, cells, strict=True))
        outside |= {f"default {i}": value for i, value in enumerate(function.__defaults__ or ())}
        for key, value in (outside | (function.__kwdefaults__ or {})).items():
            if isinstance(value, Iterator):
                self._refuse(f"uses up {key}, a {type(value).__name__} outside of the network", "keep a list")
            with self._from_outside():
                self._value(f"{name}.{key}", value)
            if isinstance(value, types.ModuleType):
                self._space(f"{name}.{key}", value, reads.attributes)

    def _space(self, name: str, module: types.ModuleType, names: Iterable[str]) -> None:
        """Look at what code reads of a module of Python, by the names of attributes."""
        if module_of(module) in FIXED or module.__name__.partition(".")[0] in _STANDARD:
            return
        self.guard.watch_names(vars(module), names)
        for key in names:
            if key in vars(module) and not isinstance(vars(module)[key], types.ModuleType):
                with self._from_outside():
                    self._value(f"{name}.{key}", vars(module)[key])

    @contextmanager
    def _from_outside(self) -> Iterator[None]:
        """Within it, what is found is shared with a copy of the network."""
        before, self._is_outside = self._is_outside, True
        try:
            yield
        finally:
            self._is_outside = before

    # --- values -------------------------------------------------------------------------------------------------------

    def _value(self, name: str, value: Any, deep: bool = True) -> None:
        """Mark a value, and what lies inside it; what cannot be looked into is a reason to step where it may matter."""
        kind: Any = type(value)
        if isinstance(value, _PLAIN):
            self._mark(name, value, repr(value))
        elif isinstance(value, Tensor | nn.Module) or kind is types.ModuleType:
            self._mark(name, value, id(value))
            if isinstance(value, nn.Module) and id(value) not in self._registered | self._seen:
                self._module(name, value)
        elif isinstance(value, DEFINITIONS):
            self._definition(name, value)
        elif id(value) not in self._seen or kind in (tuple, frozenset):
            self._seen.add(id(value))
            self._compound(name, value, deep)

    def _definition(self, name: str, value: Any) -> None:
        self._mark(name, value, id(value))
        if isinstance(value, types.FunctionType):
            self._function(name, value)
            if vars(value) and module_of(value) not in FIXED:
                self.outside.keep_attributes(value)
                for key, item in vars(value).items():
                    with self._from_outside():
                        self._value(f"{name}.{key}", item)
        elif isinstance(value, type):
            self._classes(name, value)

    def _compound(self, name: str, value: Any, deep: bool) -> None:
        kind: Any = type(value)
        inside: Any = None
        if self._is_outside:
            self.outside.keep_content(value)
        if kind in (tuple, list, deque) or (issubclass(kind, tuple) and hasattr(kind, "_fields")):
            inside = dict(enumerate(value))
            if kind is list:
                self.guard.watch_items(value)
            elif kind is deque:
                self.guard.watch_nothing()
        elif issubclass(kind, dict):
            inside = dict(value)
            self.guard.watch_mapping(value)
        elif kind in (set, frozenset):
            inside = {repr(each): each for each in value}
            self.guard.watch_nothing(kind is set)
        elif kind is types.MethodType:
            inside = {"self": value.__self__, "method": value.__func__}
        elif kind is partial:
            inside = {"func": value.func, "args": value.args, "keywords": value.keywords}
        elif isinstance(value, np.ndarray) and value.nbytes <= _BYTES and value.dtype != object:
            self.guard.watch_nothing()
            self._mark(name, value, value.shape, value.dtype, value.tobytes())
            return
        if inside is not None:
            self._mark(name, value, kind, len(inside))
            if len(inside) > _LONG:
                self._refuse(f"reads {name}, which is too long to be looked through at each call", "keep a tensor")
                return
        elif module_of(kind) == "spikingtorch":  # surrogates, resets: such a thing does not change
            self._mark(name, value, id(value))
            return
        else:
            inside = self._object(name, value, deep)
        for key, item in inside.items():
            self._value(f"{name}.{key}", item, deep)

    def _object(self, name: str, value: Any, deep: bool) -> dict[str, Any]:
        """Return what an object holds: all of it in its ``__dict__`` and its slots, or it is not in sight."""
        kind = type(value)
        self._mark(name, value, id(value))
        slots = [slot for base in kind.__mro__ for slot in _slots(base)]
        ordinary: Any = object.__reduce__
        plain = (slots or hasattr(value, "__dict__")) and not isinstance(value, list | tuple | set | bytearray)
        if deep and (module_of(kind) in FIXED or not plain or kind.__reduce__ is not ordinary):
            self._refuse(
                f"reads {name}, a {kind.__name__} whose content is not in sight",
                "keep what forward reads in plain attributes: numbers, texts, tensors, lists of them",
            )
            return {}
        if slots:
            self.guard.watch_nothing()
        self._classes(f"{name}.{kind.__name__}", kind)
        own = vars(value) if hasattr(value, "__dict__") else {}
        self.guard.watch_mapping(own)
        if self._is_outside and own:
            self.outside.keep_attributes(value)
        return own | {slot: getattr(value, slot, None) for slot in slots}


def _slots(base: type) -> tuple[str, ...]:
    slots = vars(base).get("__slots__", ())
    slots = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple([slot for slot in slots if slot not in ("__dict__", "__weakref__")])
