"""What a step is, by value: two steps with equal identities trace to the same program.

A step is its code together with all that the code can read: defaults, closure, globals, attributes of functions,
modules, classes and objects. A number that changes there changes the identity. What is not understood for certain has
none, and its step is traced anew at each call: that costs a millisecond or two, and a stale number would cost a result.
"""

import dis
import functools
import types
from collections import namedtuple
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch

from spikingtorch.functional.fused.builder import Refusal

_LIMIT = 5000  # values; a step that reads more is no small function of its parameters
# what these define stays what it is, so that the function or class itself is its identity
_FIXED = {"torch", "numpy", "math", "builtins", "typing", "collections", "functools", "operator", "spikingtorch"}
_DEFINITIONS = (
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    np.ufunc,
)
_PLAIN = (type(None), bool, int, str, bytes, float, complex, torch.dtype, torch.device)
# what reads by a name that is in no code
_OPAQUE = {"getattr", "globals", "locals", "vars", "eval", "exec", "__import__", "__dict__", "__globals__"}
# what a trace answers otherwise than the loop
_MODES = {"is_grad_enabled", "requires_grad", "grad_fn", "is_leaf", "is_inference", "is_inference_mode_enabled"}
_SIZES = {"shape", "size", "numel", "nelement", "nbytes", "stride"}
_GENERATED = {*vars(namedtuple("_Empty", [])), "__orig_bases__", "__static_attributes__", "__firstlineno__"}
_ABOUT_CLASSES = {
    "__dict__",
    "__weakref__",
    "__annotations__",
    "__annotate_func__",
    "__dataclass_fields__",
    "__dataclass_params__",
    "__hash__",
    "__parameters__",
    "__qualname__",
} | (_GENERATED - {"__new__", "__repr__", "_make", "_replace", "_asdict"})


class Unknown(Exception):
    """Something that has no identity by value."""


def identity(*values: Any) -> tuple[Any, ...]:
    """Return a hashable that is equal for values which a step cannot tell apart.

    Raises:
        Unknown: there is none, because not all that the values can read is in sight.
        Refusal: a step asks what a trace answers otherwise than the loop.
    """
    walk = _Walk()
    return tuple(walk.of(value) for value in values)


def is_fixed(value: Any) -> bool:
    """Say whether a value can neither change nor read what can."""
    kind = type(value)
    if kind in _PLAIN:
        return True
    if isinstance(value, _DEFINITIONS):
        return _module_of(value) in _FIXED and not _cells(value)
    named = issubclass(kind, tuple) and hasattr(kind, "_fields")
    return (kind is tuple or (named and is_fixed(kind))) and all(map(is_fixed, value))


class _Walk:
    def __init__(self) -> None:
        self._seen: dict[int, int] = {}
        self._alive: list[Any] = []

    def of(self, value: Any) -> Any:
        """Return the identity of a value."""
        if type(value) in _PLAIN or isinstance(value, np.generic):
            return type(value), repr(value)  # apart from ==, it tells -0.0 from 0.0 and knows NaN
        if isinstance(value, _DEFINITIONS) and _module_of(value) in _FIXED and not _cells(value):
            return value
        if id(value) in self._seen:
            return "seen", self._seen[id(value)]
        self._seen[id(value)] = len(self._seen)
        self._alive.append(value)  # so that no two values of a walk have the same id
        if len(self._seen) > _LIMIT:
            raise Unknown(f"reads more than {_LIMIT} values")
        return self._compound(value)

    def _compound(self, value: Any) -> Any:
        kind: Any = type(value)
        if kind in (tuple, list) or (issubclass(kind, tuple) and hasattr(kind, "_fields")):
            return self.of(kind), *map(self.of, value)
        if kind is dict:
            return dict, *((self.of(key), self.of(item)) for key, item in value.items())
        if kind in (set, frozenset):
            return kind, frozenset(map(self.of, value))
        if kind is functools.partial:
            return kind, *map(self.of, (value.func, value.args, value.keywords, value.__dict__))
        if kind is types.MethodType:
            return kind, self.of(value.__func__), self.of(value.__self__)
        if kind is types.FunctionType:
            return self._function(value)
        if kind is types.ModuleType:
            return value
        if kind is type:
            return self._class(value)
        if isinstance(value, _DEFINITIONS):
            return value
        return self._object(value)

    def _function(self, function: types.FunctionType) -> Any:
        if _module_of(function) in _FIXED:  # a wrapper of torch's, say, around a function of the user's
            return function, *map(self.of, _cells(function))
        reads = _reads(function.__code__)
        if reads.opaque:
            raise Unknown(f"calls {reads.opaque}")
        spaces = [function.__globals__[name] for name in reads.names if name in function.__globals__]
        cells = _cells(function)
        read = (function.__defaults__, function.__kwdefaults__, function.__dict__, *cells, *spaces)
        modules = [space for space in (*spaces, *cells) if isinstance(space, types.ModuleType)]
        return (
            function.__code__,
            *map(self.of, read),
            *(self._module(module, reads.attributes) for module in modules),
        )

    def _module(self, module: types.ModuleType, names: Iterable[str]) -> Any:
        """Return what code can read of a module, and of modules in it, by the names of attributes."""
        if _module_of(module) in _FIXED:
            return None
        if "__getattr__" in vars(module):
            raise Unknown("reads a module that makes its attributes")
        found = {name: vars(module)[name] for name in names if name in vars(module)}
        inner = [item for item in found.values() if isinstance(item, types.ModuleType) and item is not module]
        return (*((name, self.of(item)) for name, item in found.items()), *(self._module(m, names) for m in inner))

    def _class(self, cls: type) -> Any:
        skipped = _GENERATED if issubclass(cls, tuple) and hasattr(cls, "_fields") else _ABOUT_CLASSES
        skipped = {*skipped, *getattr(cls, "_fields", ())}
        content = {name: item for name, item in vars(cls).items() if name not in skipped}
        return cls, *map(self.of, cls.__bases__), *((name, self._attribute(item)) for name, item in content.items())

    def _attribute(self, item: Any) -> Any:
        if isinstance(item, property):
            return property, *map(self.of, (item.fget, item.fset, item.fdel))
        if isinstance(item, staticmethod | classmethod):
            return type(item), self.of(item.__func__)
        if hasattr(type(item), "__get__") and not isinstance(item, _DEFINITIONS):
            raise Unknown(f"has an attribute that is a {type(item).__name__}")
        return self.of(item)

    def _object(self, value: Any) -> Any:
        """Return the identity of an object that keeps what it has in its ``__dict__`` and nowhere else."""
        kind = type(value)
        ours = [base for base in kind.__mro__ if base is not object]
        if type(kind) is not type or any("__slots__" in vars(base) for base in ours) or not hasattr(value, "__dict__"):
            raise Unknown(f"reads a {kind.__name__}, whose content is not in sight")
        if any(_module_of(base) in _FIXED and base is not torch.nn.Module for base in ours):
            raise Unknown(f"reads a {kind.__name__}")
        return self.of(kind), self.of(value.__dict__)


class _Reads(NamedTuple):
    """What code reads: names of globals, names of attributes, and what it does that hides more."""

    names: tuple[str, ...]
    attributes: tuple[str, ...]
    opaque: str


@lru_cache(maxsize=1024)
def _reads(code: types.CodeType) -> _Reads:
    """Return what code reads, that of functions inside it included."""
    names: set[str] = set()
    attributes: set[str] = set()
    opaque: set[str] = set()
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
            names.add(instruction.argval)
        elif instruction.opname in ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"):
            attributes.add(instruction.argval)
        elif instruction.opname == "IMPORT_NAME":
            opaque.add("import")
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = _reads(constant)
            names.update(inner.names)
            attributes.update(inner.attributes)
            opaque.update({inner.opaque} - {""})
    if asked := (names | attributes) & _MODES:
        raise Refusal(f"asks for {min(asked)}, which a trace answers otherwise than the loop")
    if asked := attributes & _SIZES:
        raise Refusal(f"reads the size of its tensors ({min(asked)}), which no kernel knows; pass a number in params")
    opaque |= (names | attributes) & _OPAQUE
    return _Reads(tuple(sorted(names)), tuple(sorted(attributes)), min(opaque, default=""))


def _module_of(value: Any) -> str:
    if isinstance(value, types.ModuleType):
        name: Any = value.__name__
    elif isinstance(value, types.FunctionType):
        name = value.__globals__.get("__name__")  # a wrapper says that it is from where what it wraps is from
    else:
        name = getattr(value, "__module__", None)
    return name.partition(".")[0] if isinstance(name, str) else ""


def _cells(value: Any) -> list[Any]:
    """Return what a function closes over."""
    return [_content(cell) for cell in value.__closure__ or ()] if isinstance(value, types.FunctionType) else []


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a cell that is empty yet
        return None
