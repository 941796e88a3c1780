"""AttributeWalk: visit everything that the code of a network can read, starting at its modules."""

import copyreg
import re
import sys
import types
from collections import deque
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from functools import cached_property, partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from spikingtorch.fold.effects import SETTINGS, attributes_read_by, objections_to_code
from spikingtorch.fold.hooks import HOOKS, computed_attributes, is_hooked_everywhere, kind_of
from spikingtorch.functional.core.bytecode import DEFINITIONS, FIXED, Reads, cells_of, module_of, reads_of, slots_of
from spikingtorch.functional.core.guard import Guard, form_of
from spikingtorch.functional.core.torch_private import plain_class
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.frame import CHANGES
from spikingtorch.layers.passed_init import InitHook
from spikingtorch.layers.steplayer import StepLayer

_PLAIN_VALUES = (
    *(bool, int, float, complex, str, bytes, type(None), type(...), Enum),
    *(torch.dtype, torch.device, torch.Size, np.generic),
)
_OF_MODULES = set(vars(nn.Module()))
# special entries among the names that code reads: computed names, and comparison by identity
_ANY, _IS = "*", "is"
# names by which code can tell a number from a tensor that holds it, which no torch operation shows
_TELLS = {
    *("isinstance", "issubclass", "type", "__class__", "callable", "hasattr", "is_tensor", "hash", "set", "frozenset"),
    *("get", "setdefault", "contains", "in", "is", "a pattern", "a set or a text"),
}
_STANDARD = {"random", "time", "os", "sys", "copy", "itertools", "dataclasses", "contextlib", "warnings", "abc", "enum"}
# methods that no step calls
_ABOUT = {"__repr__", "__str__", "__eq__", "__hash__", "__new__", "__post_init__", "__replace__", "extra_repr"}
_PARTS = re.compile(r"[.{}\[!:]")  # separators of names in "a.b" and in "{a.b}"
# the attributes of modules in which ``fully_shard`` and the like keep their own state begin so
_OF_FSDP = ("__composable_api_state_key", "_is_fsdp_", "_fsdp_")
_LIMIT = 5000  # values
_LONG = 500  # entries of one container
_BYTES = 2**16  # of an array that is compared by value


class AttributeWalk:
    """One walk, over the attributes with some ``names``, which the code reads; ``ignored`` ones do not matter.

    Of ``free`` numbers, the values do not matter. ``exact`` says whether every replaced object is a change, and
    ``shares`` are ids of tensors that are in several places.
    """

    def __init__(
        self, names: set[str], ignored: Collection[str], free: Collection[str], exact: bool, shares: Collection[int]
    ) -> None:
        self.names: set[str] = set()  # that the code reads, as far as they are found
        self.tells = False  # whether the code can tell a number from a tensor that holds it
        self.numbers: set[str] = set()  # names of the numbers among the attributes of its modules
        self.reason: str | None = None  # why no decision is possible, as the end of a sentence "it ..."
        self.remedy = ""  # the change that would let it fold
        self.marks: dict[str, tuple[Any, ...]] = {}  # the values that must stay the same, by name
        self.guard = Guard()  # a fast check that they are the same
        self.empty: list[Any] = []  # dicts, mostly of hooks, that are empty while nothing has changed
        self.alive: list[Any] = []  # what was marked
        self.outside = Guard()  # the objects that a copy of the network shares with it
        self._is_outside = False
        self._read, self._ignored, self._free, self._exact, self._shares = names, ignored, free, exact, shares
        # numbers of torch's modules, each with the function that returns its relevant part
        self._settings: dict[str, Callable[[Any], Any]] = {}
        self._seen: set[int] = set()
        self._looked_up: dict[int, set[str]] = {}  # names visited in Python modules, by the id of the module
        self._registered: set[int] = set()
        self._replaced: set[int] = set()  # tensors that may be replaced by another one
        self._places: dict[int, set[str]] = {}  # names of the places of each tensor
        self._parts: set[int] = set()  # modules and tensors of the network, which a copy replaces by its own
        self._packages: set[str] = set()  # the packages that define the network
        self._kinds: set[int] = set()

    def through(self, net: nn.Module, modules: list[nn.Module]) -> None:
        """Visit the modules of a network, and all that their code reads."""
        self._registered = {id(module) for module in modules}
        self._parts = self._registered | {id(tensor) for tensor in (*net.parameters(), *net.buffers())}
        self._packages = {module_of(type(module)) for module in modules}
        self._mark("hooks of all modules", net, is_hooked_everywhere())
        for path, module in net.named_modules():
            self._module(path, module)

    @property
    def shared(self) -> set[int]:
        """Identities of the tensors that are in several places."""
        return {tensor for tensor, places in self._places.items() if len(places) > 1}

    def _refuse(self, reason: str, remedy: str = "") -> None:
        if self.reason is None:
            self.reason, self.remedy = reason, remedy

    def _mark(self, name: str, value: Any, *what: Any) -> None:
        self.alive.append(value)
        self.marks[name] = (type(value), *what)
        if len(self.marks) > _LIMIT:
            self._refuse(f"reads more than {_LIMIT} values, too many to look through at each call")

    def _watch(self, name: str, mapping: Any, unread: Collection[str] = ()) -> None:
        """Watch the entries of a mapping of attributes, except those that are ignored or that no code reads."""
        skipped = {each[len(name) :].partition(".")[0] for each in self._ignored if each.startswith(name)} | {*unread}
        kept = {key: value for key, value in mapping.items() if key not in skipped}
        forms = {key: form for key, value in kept.items() if (form := self._form(f"{name}{key}", value)) is not None}
        self._replaced.update(id(kept[key]) for key in forms)
        if skipped or forms:
            self.guard.watch_entries(mapping, {key: forms.get(key) for key in kept})
        else:
            self.guard.watch_mapping(mapping)

    def _form(self, name: str, value: Any) -> Callable[[Any], Any] | None:
        """Return the function that gives the relevant part of a value; None if the object itself matters."""
        if self._exact:
            return None
        if name in self._free and type(value) in (int, float):
            return type
        if name in self._settings:
            return self._settings[name]
        # code may compare tensors by identity, for instance to find a tensor that is in two places
        told_apart = _IS in self._read or id(value) in self._shares
        return form_of if isinstance(value, Tensor) and not vars(value) and not told_apart else None

    # --- modules ------------------------------------------------------------------------------------------------------

    def _module(self, path: str, module: nn.Module) -> None:
        self._seen.add(id(module))
        prefix = f"{path}." if path else ""
        if isinstance(module, torch.jit.ScriptModule):
            self._refuse(
                f"holds {path or 'the network'}, a scripted module, whose code is not in sight",
                "leave this part to Python, or script what holds the SpikingNet",
            )
            return
        own, kind = vars(module), cast(Any, plain_class(type(module)))
        self.guard.watch_attributes(module, "__class__")
        if id(kind) not in self._kinds:  # for a class of torch, the attribute that can replace its forward
            self._kinds.add(id(kind))
            self.guard.watch_attributes(kind, "forward")
        self._mark(path, module, kind, id(own.get("forward")), id(kind.forward), *own["_modules"], *own["_buffers"])
        self._check_copies(path or "the network", kind)
        self._mark(f"{prefix}training", module.training, module.training)
        for hooks in HOOKS:
            known = [isinstance(hook, InitHook) or kind_of(hook, module) is not None for hook in own[hooks].values()]
            if known and all(known):
                self.guard.watch_mapping(own[hooks])
            else:
                self.empty.append(own[hooks])
        self._mark(f"{prefix}hooks", own, *[tuple(map(id, own[hooks].values())) for hooks in HOOKS])
        if id(module) not in self._registered and any(own[hooks] for hooks in HOOKS):
            self._refuse(f"has hooks on {path}, which are called once a step", "remove them")
        for entries in ("_modules", "_buffers"):
            if own[entries]:
                self._watch(f"{prefix}{entries}.", own[entries])
            else:
                self.empty.append(own[entries])
            for name, value in own[entries].items():
                self._part(f"{prefix}{entries}.{name}", f"{prefix}{name}", value)
        if not own["_parameters"]:
            self.empty.append(own["_parameters"])
        for name, weight in own["_parameters"].items():
            flags = (None,) if weight is None else (weight.requires_grad, weight.shape, weight.dtype)
            self._mark(f"{prefix}_parameters.{name}", None, *flags)
            self._given_to(f"{prefix}{name}", weight)
        self._attributes(prefix, module, own, kind)
        self._classes(f"{prefix}{kind.__name__}", kind)

    def _check_copies(self, name: str, kind: type) -> None:
        """Refuse an object that defines how it is copied, because the proof examines a copy."""
        for method in ("__getstate__", "__reduce__", "__reduce_ex__"):
            definer = next((base for base in kind.__mro__ if method in vars(base)), object)
            if definer is not object and module_of(definer) not in FIXED:
                self._refuse(f"holds {name}, whose {method} decides what a copy has", f"leave {method} out")

    def _part(self, name: str, path: str, value: Any) -> None:
        """Mark a module or a tensor: its numbers do not matter, but attributes that the user has added do."""
        if (form := self._form(path, value)) is not None:
            self._mark(name, None, form(value))
        else:
            self._mark(name, value, id(value), form_of(value) if isinstance(value, Tensor) else None)
            self._given_to(path, value)
        if isinstance(value, Tensor):
            self._places.setdefault(id(value), set()).add(name)
            if id(value) not in self._replaced:
                self.guard.watch_form(value)

    def _given_to(self, name: str, tensor: Any) -> None:
        """Visit the attributes that the user has added to a tensor."""
        own = vars(tensor) if type(tensor) in (nn.Parameter, Tensor) else None
        if own:
            self._watch(f"{name}.", own)
            for key, value in own.items():
                self._value(f"{name}.{key}", value)
        elif own is not None:
            self.empty.append(own)

    def _attributes(self, prefix: str, module: nn.Module, own: dict[str, Any], kind: type) -> None:
        """Visit the attributes of a module: those that code reads, and all of them for modules of other libraries."""
        # the code of torch and other libraries is not analysed
        bases = [base for base in kind.__mro__ if issubclass(base, nn.Module)][:-1]  # without nn.Module itself
        foreign = any(map(_is_foreign, bases))
        plain = module_of(cast(Any, kind).forward) == "torch"
        used = own.keys() if not plain or (reads := attributes_read_by(kind)) is None else reads
        if plain:
            told = [(name, form) for base, name, form in SETTINGS if isinstance(module, base) and not self._reads(name)]
            self._settings |= {f"{prefix}{name}": form for name, form in told}
        skipped = _OF_MODULES | computed_attributes(module) | {"forward"}
        skipped |= {name for name in own if name.startswith(_OF_FSDP)}
        if isinstance(module, StatefulLayer):
            changing = {*module._attributes.values()} if isinstance(module, StepLayer) else set()
            self._mark(f"{prefix}returns", None, getattr(module, "_returns", None))
            skipped |= CHANGES | changing  # the parameters of a layer are numbers, and mix nothing
            self.guard.watch_names(own, [name for name in own if name not in skipped] + ["training", "forward", *HOOKS])
            self.guard.watch_value(own.__len__)
        read = [name for name in own if name not in skipped and (self._reads(name) or (foreign and name in used))]
        if not isinstance(module, StatefulLayer):
            self._watch(prefix, own, own.keys() - {*read, *_OF_MODULES, "forward"})
        self.numbers |= {f"{prefix}{name}" for name in read if not foreign and type(own[name]) in (int, float)}
        for name in read:
            self._value(f"{prefix}{name}", own[name], deep=not foreign or self._reads(name))
        if isinstance(forward := own.get("forward"), types.FunctionType | types.MethodType | partial):
            self._value(f"{prefix}forward", forward, deep=module_of(forward) not in FIXED)

    def _reads(self, name: str) -> bool:
        return name in self._read or _ANY in self._read

    def _classes(self, name: str, kind: type, made: bool = False) -> None:
        """Visit the definitions of a class and its base classes; ``made`` if code makes objects of it."""
        for base in kind.__mro__:
            if base is object or module_of(base) in FIXED or id(base) in self._seen:
                continue
            self._seen.add(id(base))
            copyreg._slotnames(base)  # type: ignore[attr-defined]  # copies note it in the class
            self.guard.watch_mapping(vars(base))
            self.outside.watch_mapping(vars(base), base)
            for key, item in list(vars(base).items()):
                if key not in _ABOUT and (made or key != "__init__" or not issubclass(base, nn.Module)):
                    self._member(f"{name}.{key}", item, self._reads(key))

    def _member(self, name: str, item: Any, read: bool) -> None:
        """Visit a member of a class: a method, a computed attribute, or a value that is read."""
        found = (item.fget, item.fset) if isinstance(item, property) else (item,)
        for member in (item.func,) if isinstance(item, cached_property) else found:
            function = member.__func__ if isinstance(member, staticmethod | classmethod) else member
            builtin = module_of(type(function)).lstrip("_") in FIXED and hasattr(type(function), "__get__")
            if isinstance(function, types.FunctionType):
                self._function(name, function)
            elif read and hasattr(function, "cache_info"):
                self._refuse(f"keeps what {name} returns in a cache", "keep it in an attribute, made in __init__")
            elif read and not builtin and function is not None:
                self._shared(name, function)

    # --- code ---------------------------------------------------------------------------------------------------------

    def _function(self, name: str, function: types.FunctionType) -> None:
        if id(function) in self._seen:
            return
        self._seen.add(id(function))
        self.guard.watch_function(function)
        self._mark(name, function, function.__code__)
        self.outside.watch_function(function)
        cells = dict(zip(function.__code__.co_freevars, cells_of(function), strict=True))
        if module_of(function) in FIXED:  # for instance a wrapper of torch around a function of the user
            for key, cell in cells.items():
                self._shared(f"{name}.{key}", cell, deep=False)
            return
        reads, space = reads_of(function.__code__), function.__globals__
        self.guard.watch_names(space, reads.names)
        self.names.update(reads.attributes, reads.names, reads.stores, {_ANY} if reads.computes_names else ())
        self.names.update({_IS} if reads.identity else ())
        self.names.update(part for text in reads.texts for part in _PARTS.split(text))
        self.tells = self.tells or not _TELLS.isdisjoint(reads.looks) or _compares_numbers(reads, {**space, **cells})
        # installed packages are not analysed, except the package of the network
        if "site-packages" in function.__code__.co_filename and module_of(function) not in self._packages:
            return
        self.outside.watch_names(space, reads.names)
        outside = {key: space[key] for key in reads.names if key in space} | cells
        outside |= {f"default {i}": value for i, value in enumerate(function.__defaults__ or ())}
        if reads.imports:
            self.guard.watch_names(sys.modules, reads.imports)
            outside |= {key: sys.modules[key] for key in reads.imports if key in sys.modules}
        outside |= function.__kwdefaults__ or {}
        for reason, remedy in objections_to_code(name, reads, outside):
            self._refuse(reason, remedy)
        for key, value in outside.items():
            if isinstance(value, types.ModuleType):
                self._space(f"{name}.{key}", value, {*reads.attributes, *reads.stores})
            self._shared(f"{name}.{key}", value)

    def _space(self, name: str, module: types.ModuleType, names: Collection[str] = ()) -> None:
        """Visit the values of a Python module under the names that code reads.

        The user may pass a module to a helper. So the code that reads the module need not be the code where the walk
        finds it. So all names count that any code of the network reads. For an installed module, only ``names`` count.
        """
        package = module_of(module)
        if package in FIXED or package in _STANDARD:
            return
        space, known = vars(module), self._looked_up.setdefault(id(module), set())
        installed = "site-packages" in (space.get("__file__") or "") or package in sys.stdlib_module_names
        wanted = {*names} if installed and package not in self._packages else self._read | {"__getattr__"}
        if _ANY in wanted:
            wanted |= {key for key in space if not key.startswith("__")}
        wanted -= known
        if not wanted:
            return
        known |= wanted
        self.guard.watch_names(space, wanted)
        self.outside.watch_names(space, wanted)
        for key in [key for key in space if key in wanted]:
            if isinstance(space[key], types.ModuleType):
                self._space(f"{name}.{key}", space[key], names)
            self._shared(f"{name}.{key}", space[key])

    def _shared(self, name: str, value: Any, deep: bool = True) -> None:
        """Visit a value that a copy of the network shares with it, and the values inside it."""
        before, self._is_outside = self._is_outside, True
        self._value(name, value, deep)
        self._is_outside = before

    # --- values -------------------------------------------------------------------------------------------------------

    def _value(self, name: str, value: Any, deep: bool = True) -> None:
        """Mark a value and the values inside it; a value that matters and cannot be examined is a reason to step."""
        kind: Any = type(value)
        if name in self._ignored:
            return
        if isinstance(value, _PLAIN_VALUES):
            self._classes(f"{name}.{kind.__name__}", kind)
            form = self._form(name, value)
            self._mark(name, value, repr(value) if form is None else form(value))
        elif isinstance(value, Tensor | nn.Module | types.ModuleType):
            self._part(name, name, value)
            if isinstance(value, types.ModuleType):
                self._space(name, value)
            if deep and self._is_outside and id(value) in self._parts:
                self._refuse(
                    f"reads {name}, a part of the network that is kept outside of it", "keep it in an attribute alone"
                )
            if isinstance(value, nn.Module) and id(value) not in self._registered | self._seen:
                self._module(name, value)
        elif isinstance(value, DEFINITIONS):
            self._definition(name, value, deep)
        elif id(value) not in self._seen or kind in (tuple, frozenset):
            self._seen.add(id(value))
            self._compound(name, value, deep)

    def _definition(self, name: str, value: Any, deep: bool) -> None:
        self._mark(name, value, id(value))
        if isinstance(value, types.FunctionType):
            self._function(name, value)
            if module_of(value) not in FIXED:
                self.guard.watch_mapping(vars(value))
                self.outside.watch_mapping(vars(value))
                for key, item in vars(value).items():
                    self._shared(f"{name}.{key}", item)
        elif isinstance(value, type):
            self._classes(name, value, made=True)
        elif isinstance(value, types.BuiltinFunctionType) and not isinstance(value.__self__, types.ModuleType | type):
            self._shared(f"{name}.self", value.__self__, deep)  # for instance a method of a list that a copy shares

    def _compound(self, name: str, value: Any, deep: bool) -> None:
        kind: Any = type(value)
        if self._is_outside:
            self.outside.watch_content(value)
        if isinstance(value, np.ndarray) and value.nbytes <= _BYTES and value.dtype != object:
            self.guard.watch_content(value)
            self._mark(name, value, value.shape, value.dtype, value.tobytes())
            return
        inside = self._inside(name, value)
        # surrogates, reset rules and operations never change
        if inside is None and (module_of(kind) == "spikingtorch" or kind.__module__ == "torch._ops"):
            self._mark(name, value, id(value))
            return
        if inside is None:
            inside = self._object(name, value, deep)
        else:
            self._mark(name, value, kind, tuple(inside) if len(inside) <= _LONG else len(inside))
        if len(inside) > _LONG:
            self._refuse(f"reads {name}, which is too long to be looked through at each call", "keep a tensor")
            return
        for key, item in inside.items():
            self._value(f"{name}.{key}", item, deep)

    def _inside(self, name: str, value: Any) -> dict[Any, Any] | None:
        """Return the items of a container, by position or key; None if the value is no container."""
        kind: Any = type(value)
        named = issubclass(kind, tuple) and hasattr(kind, "_fields")
        if kind in (tuple, list, deque) or named:
            self.guard.watch_content(value)
            if named:
                self._classes(f"{name}.{kind.__name__}", kind)
            return dict(enumerate(value))
        if kind is dict or (issubclass(kind, dict) and not getattr(value, "__dict__", None)):
            self._classes(f"{name}.{kind.__name__}", kind)
            self._watch(f"{name}.", value)
            if any(isinstance(key, Tensor) for key in value):
                self.names.add(_IS)
            for key in value if self._is_outside else ():
                if id(key) in self._parts:
                    self._value(f"{name}.{key!r}"[:60], key)  # which says why not
            return {key if type(key) is str else f"#{key!r}": item for key, item in value.items()}
        if kind in (set, frozenset):
            self.guard.watch_content(value)
            if any(isinstance(each, Tensor) for each in value):
                self.names.add(_IS)
            return {repr(each): each for each in value}
        if kind is types.MethodType:
            return {"self": value.__self__, "method": value.__func__}
        if kind is slice:
            return {"start": value.start, "stop": value.stop, "step": value.step}
        if kind is partial:
            return {"func": value.func, "args": value.args, "keywords": value.keywords}
        return None

    def _object(self, name: str, value: Any, deep: bool) -> dict[str, Any]:
        """Return the attributes of an object from its ``__dict__`` and slots; refuse an object with other content."""
        kind = type(value)
        self._mark(name, value, id(value))
        slots = slots_of(kind)
        ordinary: Any = object.__reduce__
        plain = (slots or hasattr(value, "__dict__")) and not isinstance(value, list | tuple | set | dict | bytearray)
        plain = plain and kind.__reduce__ is ordinary and not hasattr(kind, "__deepcopy__")
        if deep and (module_of(kind) in FIXED or not plain):
            self._refuse(
                f"reads {name}, a {kind.__name__} whose content is not in sight",
                "keep what forward reads in plain attributes: numbers, texts, tensors, lists of them",
            )
            return {}
        if deep:
            self._check_copies(f"{name}, a {kind.__name__}", kind)
        self.guard.watch_attributes(value, *slots)
        self._classes(f"{name}.{kind.__name__}", kind)
        own = vars(value) if hasattr(value, "__dict__") else {}
        self._watch(f"{name}.", own)
        if self._is_outside:
            self.outside.watch_mapping(own)
            self.outside.watch_attributes(value, *slots)
        return own | {slot: getattr(value, slot, None) for slot in slots}


def _compares_numbers(reads: Reads, outside: Mapping[str, Any]) -> bool:
    """Return True if code may compare numbers by identity."""
    for name in reads.identity:
        variable, _, attribute = name.partition(".")
        value = outside.get(variable, 0)
        if isinstance(getattr(value, attribute, None) if attribute else value, int | float):
            return True
    return False


def _is_foreign(kind: type) -> bool:
    """Return True if a class is from torch or another installed package: its code is not analysed."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None) or ""
    return module_of(kind) == "torch" or "site-packages" in file
