"""A snapshot of all that a step can read: it shows whether a step is unchanged, and whether a trace changed anything.

A step is its code together with all that the code can reach: defaults, closure, globals, attributes of functions,
modules, classes and objects. Values form the key of the step: two steps with equal keys trace to the same program.
Objects with an identity are watched by a guard, which sees a change, and undoes the changes of a trace. A step that
reads anything else runs on the loop, because a stale value would give a wrong result.
"""

import builtins
import functools
import random
import types
from collections import OrderedDict, deque, namedtuple
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from spikingtorch.functional.core.bytecode import (
    DEFINITIONS,
    FIXED,
    READ_ONE,
    Reads,
    cells_of,
    module_of,
    reads_of,
    slots_of,
)
from spikingtorch.functional.core.guard import Guard, attributes_of, form_of
from spikingtorch.functional.core.modes import DispatchMode, within
from spikingtorch.functional.core.sharing import plain
from spikingtorch.functional.core.torch_private import has_global_hook
from spikingtorch.functional.core.undo import run_or_undo
from spikingtorch.functional.fused.errors import NotFusible

T = TypeVar("T")
_LIMIT = 5000  # values; a step that reads more is not a small function of its parameters
_SMALL = 2**20  # bytes of an array that a snapshot copies
_VALUES = (type(None), bool, int, str, bytes, float, complex, range, slice, torch.dtype, torch.device)
# questions whose answer differs during tracing
_MODES = {
    *("needs_input_grad", "is_autocast_enabled", "is_grad_enabled", "requires_grad", "grad_fn", "is_leaf"),
    *("is_inference", "is_inference_mode_enabled"),
}
# functions that must run at each step, and functions that read by names that stand in no code
_EFFECTS = {"print", "open", "input", "breakpoint"}
_OPAQUE = {"globals", "locals", "eval", "exec", "__import__", "__globals__", "_getframe", "f_globals", "f_locals"}
_IN_C = (
    *(types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType),
    types.ClassMethodDescriptorType,
)
# packages whose C functions give the same results for the same arguments
_PURE = FIXED | {"itertools", "cmath", "copyreg", "abc", "types"}
# packages of metaclasses that add nothing that a step reads, and of base classes that hold nothing
_METACLASSES, _BASES = {"builtins", "abc", "torch", "typing", "enum"}, {"typing", "abc", "enum"}
_DRAWS = (random.Random, np.random.Generator, np.random.RandomState, torch.Generator)
# attributes of classes: storage of objects, and notes of Python
_SLOTS = (types.MemberDescriptorType, types.GetSetDescriptorType, type(vars(namedtuple("_Pair", "x"))["x"]))
_SAMPLE: type = types.new_class("_Sample", (Protocol,))
_NOTES = {name for name, item in vars(_SAMPLE).items() if not isinstance(item, types.FunctionType)} | {
    *("__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__orig_bases__"),
    *("__dataclass_fields__", "__dataclass_params__", "__static_attributes__", "__firstlineno__", "_backward_cls"),
}
_OF_ENUMS = {*vars(Enum("_Empty", []))}
# methods that a step uses only if it creates, prints or compares objects
_MAKERS = {"__init__", "__new__", "__post_init__"}
_SHOWN = _MAKERS | {"__repr__", "__str__", "__format__", "__eq__", "__hash__", "__replace__"}
_HOLD = "Keep what it reads in numbers, texts, tuples, lists, dicts or plain objects, or pass it in params"
_WRITE = "Write the names of what it reads in its code"


class NotHeld(NotFusible):
    """A step reads something that no snapshot can hold."""


class SideEffect(NotFusible):
    """A step changes something outside of it, which only the loop does at each step."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}, which no kernel does at each step. Return it as one more output, or carry it in the state"
        )


class Snapshot(NamedTuple):
    """All that a step can reach, as far as a snapshot can hold it."""

    key: tuple[Any, ...]  # equal for objects that a step cannot tell apart
    looks: bool  # whether the code inspects numbers other than by arithmetic
    guard: Guard  # sees changes
    missing: NotHeld | None  # the thing that cannot be held, or None
    tensors: list[Tensor]  # tensors that the step can reach

    def undone(self, work: Callable[[], T]) -> T:
        """Return the result of ``work``, which runs the step, and undo its changes.

        Raise SideEffect if it has changed something, or was about to write to a tensor.
        """

        def look() -> T:
            refusal = found = None
            try:
                found = within((NoWrites(self.tensors),), work) if self.tensors else work()
            except NotFusible as error:
                refusal = error
            if (name := self.guard.changed()) is not None:
                raise SideEffect(f"changes {name} outside of it")
            if refusal is not None:
                raise refusal
            return cast(T, found)

        return run_or_undo(look, self.guard.put_back)


class NoWrites(DispatchMode):
    """Refuse writes to some tensors, before their numbers are lost."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()
        self._memory = {*map(_address, tensors)} - {0}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.is_mutable:
            for each in (*args, *(kwargs or {}).values()):
                if isinstance(each, Tensor) and _address(each) in self._memory:
                    raise SideEffect(f"writes on a tensor outside of it ({func._opname})")
        return func(*args, **(kwargs or {}))


def _address(tensor: Tensor) -> int:
    """Return the address of a tensor's memory; 0 if it has none."""
    try:
        return plain(tensor).untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):
        return 0


def snapshot(*values: Any) -> Snapshot:
    """Return a snapshot of a step, and of its other arguments.

    Raise SideEffect if the step uses something up by reading it, and NotFusible if its code asks something whose answer
    differs during tracing.
    """
    walk = _SnapshotWalk()
    try:
        key = (*map(walk.of, values), *walk.of_modules())
        walk.check_code()
    except NotHeld as missing:
        key, walk.missing = (), missing
    return Snapshot(key, walk.looks, walk.guard, walk.missing, walk.tensors)


def whole_snapshot(*values: Any) -> Snapshot:
    """Return a snapshot; raise the errors of ``snapshot``, and NotHeld if something cannot be held."""
    found = snapshot(*values)
    if found.missing is not None:
        raise found.missing
    return found


def is_immutable(value: Any) -> bool:
    """Return True if a value cannot change, and cannot read anything that can change."""
    kind = type(value)
    if kind in _VALUES:
        return True
    if isinstance(value, DEFINITIONS):
        return module_of(value) in FIXED and not cells_of(value)
    named = issubclass(kind, tuple) and hasattr(kind, "_fields")
    return (kind is tuple or (named and is_immutable(kind))) and all(map(is_immutable, value))


class _SnapshotWalk:
    """One walk through all that code can reach."""

    def __init__(self) -> None:
        self.guard = Guard()  # watches the walk's objects
        self.looks = False  # whether code inspects numbers other than by arithmetic
        self.missing: NotHeld | None = None  # the thing that cannot be held; the walk continues, to find all else
        self.tensors: list[Tensor] = []  # that the walk has met
        self._seen: dict[int, tuple[int, str]] = {}  # the number and the name of a value
        self._also: set[tuple[str, str]] = set()  # names that lead to values found under another name
        self._alive: list[Any] = []
        self._modules: dict[int, types.ModuleType] = {}
        self._attributes: set[str] = set()  # names that code reads or assigns, in any module
        self._name = ""  # the name that calls code of a class or a module
        self._code: list[tuple[str, types.FunctionType, Reads]] = []  # by that name
        self._in_c: list[tuple[str, Any, str]] = []  # C functions by that name, and their packages

    def _unheld(self, what: str, instead: str = _HOLD) -> None:
        self.missing = self.missing or NotHeld(f"{what}. {instead}")

    def of(self, value: Any) -> Any:
        """Return the part of the key for a value."""
        kind = type(value)
        if kind in _VALUES or isinstance(value, np.generic):
            return kind, repr(value)  # unlike ==, this tells -0.0 from 0.0 and NaN from other numbers
        if isinstance(value, _IN_C):
            return self._function_in_c(value)
        fixed = isinstance(value, DEFINITIONS) and module_of(value) in FIXED and not cells_of(value)
        if fixed or kind.__module__ == "torch._ops":  # operators of torch do not change
            return value
        if id(value) in self._seen:
            number, name = self._seen[id(value)]
            self._also.add((self._name, name))
            return "seen", number
        self._seen[id(value)] = len(self._seen), self._name
        self._alive.append(value)  # so that no two values of a walk have the same id
        if len(self._seen) > _LIMIT:
            raise NotHeld(f"reads more than {_LIMIT} values. {_HOLD}")
        return kind, self._inside(value)

    def _function_in_c(self, function: Any) -> Any:
        owner = getattr(function, "__objclass__", getattr(function, "__self__", None))
        if owner is not None and not isinstance(owner, types.ModuleType | type):
            return function.__name__, self.of(owner)  # for instance the get of a dict
        self._in_c.append((self._name, function, module_of(function if owner is None else owner).lstrip("_")))
        return function

    def _inside(self, value: Any) -> Any:
        """Return the part of the key for the content of a value."""
        kind: Any = type(value)
        if isinstance(value, _DRAWS):
            raise SideEffect(f"draws random numbers from a {kind.__name__}")
        if isinstance(value, Iterator):
            raise SideEffect(f"may use up a {kind.__name__} outside of it")
        if isinstance(value, Tensor):
            return self._tensor(value)
        if kind in (dict, OrderedDict):
            return self._mapping(value)
        if kind is np.ndarray and value.nbytes <= _SMALL and value.dtype != object:
            self.guard.watch_content(value)
            return value.dtype, value.shape, value.tobytes()
        if kind in (set, frozenset):
            self.guard.watch_content(value)
            return frozenset(map(self.of, value))
        if kind in (tuple, list, deque) or (issubclass(kind, tuple) and hasattr(kind, "_fields")):
            self.guard.watch_content(value)
            return self.of(kind), getattr(value, "maxlen", None), *map(self.of, value)
        if kind is functools.partial:
            return (*map(self.of, (value.func, value.args, value.keywords, value.__dict__)),)
        if kind is types.MethodType:
            return self.of(value.__func__), self.of(value.__self__)
        if kind is types.FunctionType:
            return self._function(value)
        if kind is types.ModuleType:
            return self._module(value)
        return self._class(value) if isinstance(value, type) else self._object(value)

    def _mapping(self, mapping: Any, name: str = "a dict") -> Any:
        self.guard.watch_mapping(mapping, name=name)
        return tuple([(self.of(key), self.of(item)) for key, item in mapping.items()])

    def _tensor(self, tensor: Tensor) -> Any:
        """Return the form of a tensor and the attributes that were set on it; no trace reads its numbers."""
        dense = tensor.layout is torch.strided and not (tensor.is_nested or tensor.is_quantized)
        if type(tensor) not in (Tensor, torch.nn.Parameter) or not dense:
            self._unheld(f"reads a {type(tensor).__name__} that is no dense tensor of one shape")
            return None
        self.tensors.append(tensor)
        self.guard.watch_form(tensor)
        return form_of(tensor), *((name, self.of(item)) for name, item in attributes_of(tensor).items())

    def _named(self, name: str, value: Any) -> Any:
        """Return the part of the key for a value that is called only by code that reads its name."""
        before, self._name = self._name, name
        try:
            return self.of(value)
        finally:
            self._name = before

    def _function(self, function: types.FunctionType) -> Any:
        self.guard.watch_function(function)
        if module_of(function) in FIXED:  # for instance a wrapper of torch around a function of the user
            self.looks = self.looks or module_of(function) == "functools"
            return function, *map(self.of, cells_of(function))
        reads, space = reads_of(function.__code__), function.__globals__
        self._code.append((self._name, function, reads))
        self._attributes.update(reads.attributes, reads.stores, reads.texts)
        self.looks = self.looks or bool(reads.looks)
        self.guard.watch_names(space, {*reads.names, *reads.rebinds})
        read = [space[name] for name in reads.names if name in space]
        own = function.__defaults__, function.__kwdefaults__, function.__dict__
        return function.__code__, *map(self.of, (*own, *cells_of(function), *read))

    def _module(self, module: types.ModuleType) -> Any:
        if module_of(module) not in FIXED:
            self._modules[id(module)] = module
        return module

    def of_modules(self) -> Iterator[Any]:
        """Yield the parts of the key for reads of modules: every entry whose name some of the code reads."""
        done: set[tuple[int, str]] = set()
        while ahead := {
            (id(module), name): module
            for module in self._modules.values()
            for name in sorted({*self._attributes, "__getattr__"})
            if (id(module), name) not in done
        }:
            done.update(ahead)
            for (_, name), module in ahead.items():
                self.guard.watch_names(vars(module), (name,))
                if name in vars(module):
                    yield module, name, self._named(name, vars(module)[name])
        if self._modules and self._computes(self._called()):
            self._unheld("may read a module by a name that it computes", _WRITE)

    def _class(self, cls: type) -> Any:
        if module_of(type(cls)) not in _METACLASSES:
            self._unheld(f"reads a {type(cls).__name__}, a class of another kind")
        self.guard.watch_mapping(vars(cls), cls)
        self.guard.watch_attributes(cls, "__bases__")
        skipped = _NOTES | (_OF_ENUMS if issubclass(cls, Enum) else set())
        content = {name: item for name, item in vars(cls).items() if name not in skipped}
        content |= cls.__members__ if issubclass(cls, Enum) else {}
        items = [(name, self._defined(name, item)) for name, item in content.items()]
        return cls, *map(self.of, cls.__bases__), *items

    def _defined(self, name: str, item: Any) -> Any:
        """Return the part of the key for an attribute of a class."""
        if isinstance(item, property):
            return property, *[self._named(name, each) for each in (item.fget, item.fset, item.fdel)]
        if isinstance(item, staticmethod | classmethod):
            return type(item), self._named(name, item.__func__)
        if isinstance(item, _SLOTS):
            return None
        if hasattr(type(item), "__get__") and not isinstance(item, (*DEFINITIONS, *_IN_C)):
            self._unheld(f"has {name}, an attribute that is a {type(item).__name__}")
        return self._named(name, item)

    def _object(self, value: Any) -> Any:
        """Return the part of the key for an object whose content is only in its ``__dict__`` and its slots."""
        kind = type(value)
        if isinstance(value, torch.nn.Module):
            self.guard.watch_value(has_global_hook)
            if has_global_hook():
                raise SideEffect("holds a module, and hooks are registered for all modules, which may change anything")
        own, slots = getattr(value, "__dict__", None), slots_of(kind)
        made_anew = own is not getattr(value, "__dict__", None)
        in_sight = isinstance(value, Enum) or all(map(_is_in_sight, kind.__mro__[:-1]))
        if made_anew or not (slots or own is not None) or not in_sight:
            self._unheld(f"reads an object of class {kind.__name__}, whose content cannot be read")
            return kind
        self.guard.watch_attributes(value, "__class__", *slots, *(() if own is None else ("__dict__",)))
        content = () if own is None else self._mapping(own, f"an attribute of a {kind.__name__}")
        return self.of(kind), content, *[self.of(getattr(value, slot, None)) for slot in slots]

    def _called(self) -> set[str]:
        """Return the names of code that may be called.

        In a class or a module, this is each function whose name such code reads, and each function that Python calls
        implicitly. If the code computes names, it is all functions.
        """
        known = {name for name, _, _ in self._code} | {name for name, _, _ in self._in_c}
        read = {"", "forward", *filter(_calls_by_itself, known)}
        told: set[str] = set()
        while read != told:
            told |= read
            each = [{*reads.names, *reads.attributes, *reads.texts} for name, _, reads in self._code if name in told]
            read = told.union(*each, known if self._computes(told) else ())
            read |= {first for name, first in self._also if name in told}
        return told

    def _computes(self, told: set[str]) -> bool:
        """Return True if the code under some names, or code that creates objects, reads by computed names."""
        return any([reads.computes_names for name, _, reads in self._code if name in told | _MAKERS])

    def check_code(self) -> None:
        """Raise if code that may be called does something that only the loop does correctly."""
        told = self._called()
        for name, function, reads in self._code:
            if name in told:
                self._check(function, reads)
        for name, function, package in self._in_c:
            if name not in told:
                continue
            if function.__name__ in _OPAQUE | READ_ONE:  # by another name
                self._unheld(f"calls {function.__name__}", _WRITE)
            elif package not in _PURE:
                self._unheld(f"calls {package}.{function.__name__}, which may give something else at each call")

    def _check(self, function: types.FunctionType, reads: Reads) -> None:
        told, cells = {*reads.names, *reads.attributes}, cells_of(function)
        outside = vars(builtins) | function.__globals__ | dict(zip(function.__code__.co_freevars, cells, strict=True))
        if reads.looks and "Parameter" in told:
            raise NotFusible("asks for Parameter, whose answer differs during tracing")
        read = [*cells, *[outside.get(name) for name in reads.names]]  # by another name
        if asked := (told | {getattr(each, "__name__", "") for each in read if isinstance(each, DEFINITIONS)}) & _MODES:
            raise NotFusible(f"asks for {min(asked)}, whose answer differs during tracing")
        for name in reads.identity:
            variable, _, attribute = name.partition(".")
            value = outside.get(variable)
            value = getattr(value, attribute, None) if attribute else value
            if isinstance(value, (type(None), float, tuple, list, dict, Tensor)):
                raise NotFusible(f"compares objects by identity (is {name or '...'}), which are others in a trace")
        if "id" in reads.names:
            raise NotFusible("compares objects by identity (id), which are others in a trace")
        if reads.catches:
            raise NotFusible("goes on after an error that it catches, which a trace may raise and the loop may not")
        if effects := {*reads.names} & _EFFECTS:
            raise SideEffect(f"calls {min(effects)}")
        if opaque := told & _OPAQUE:
            self._unheld(f"uses {min(opaque)}, whose effect cannot be analysed", _WRITE)
        if reads.imports:
            self._unheld(f"imports {reads.imports[0]}", "Import it outside of the step")


def _calls_by_itself(name: str) -> bool:
    """Return True if Python calls a method of this name implicitly, as for an operator."""
    return name.startswith("__") and name not in _SHOWN


def _is_in_sight(base: type) -> bool:
    """Return True if objects of a class keep everything in their ``__dict__`` and slots."""
    package = module_of(base)
    in_c = package in FIXED or (package.startswith("_") and package != "__main__")
    return not in_c or package in _BASES or issubclass(base, torch.nn.Module)
