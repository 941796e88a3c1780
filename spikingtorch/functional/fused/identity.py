"""What a step is, by value: two steps with equal identities trace to the same program.

A step is its code together with everything that the code reads: defaults, closure, globals and attributes of modules,
classes and objects. A number that changes there changes the identity; tensors do not count, for a trace refuses a step
that reads one.
"""

import dis
import functools
import types
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import torch

_LIMIT = 5000  # values; a step that reads more is no small function of its parameters
# what these define stays what it is, so that the object itself is its identity
_FIXED = {"torch", "numpy", "math", "builtins", "typing", "collections", "functools", "operator", "spikingtorch"}


class Unknown(Exception):
    """Something that has no identity by value."""


def identity(*values: Any) -> tuple[Any, ...]:
    """Return a hashable that is equal for values which a step cannot tell apart.

    Raises:
        Unknown: there is none, because a value keeps its content out of sight.
    """
    walk = _Walk()
    return tuple(walk.of(value) for value in values)


class _Walk:
    def __init__(self) -> None:
        self._seen: dict[int, int] = {}
        self._alive: list[Any] = []

    def of(self, value: Any) -> Any:
        """Return the identity of a value."""
        kind = type(value)
        if value is None or kind in (bool, int, str, bytes, torch.dtype, torch.device):
            return kind, value
        if isinstance(value, float | complex | np.generic):
            return kind, repr(value)  # apart from ==, it tells -0.0 from 0.0 and knows NaN
        if isinstance(value, torch.Tensor):
            return torch.Tensor
        if _module_of(value) in _FIXED and not isinstance(value, tuple | types.ModuleType):
            return value if _is_definition(value) else self._object(value)
        return self._container(value)

    def _container(self, value: Any) -> Any:
        if id(value) in self._seen:
            return "seen", self._seen[id(value)]
        self._seen[id(value)] = len(self._seen)
        self._alive.append(value)  # so that no two values of a walk have the same id
        if len(self._seen) > _LIMIT:
            raise Unknown(f"reads more than {_LIMIT} values")
        if isinstance(value, tuple | list):
            return type(value), *map(self.of, value)
        if isinstance(value, dict):
            return type(value), *((self.of(key), self.of(item)) for key, item in value.items())
        if isinstance(value, set | frozenset):
            return type(value), frozenset(map(self.of, value))
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.MethodType):
            return types.MethodType, self.of(value.__func__), self.of(value.__self__)
        if isinstance(value, functools.partial):
            return functools.partial, self.of(value.func), self.of(value.args), self.of(value.keywords)
        if isinstance(value, types.ModuleType):
            return value
        if isinstance(value, type):
            functions = filter(None, map(_function_of, vars(value).values()))
            return value, *map(self.of, value.__bases__), *map(self.of, functions)
        if isinstance(value, types.BuiltinFunctionType | types.MethodDescriptorType | types.WrapperDescriptorType):
            return value
        return self._object(value)

    def _function(self, function: types.FunctionType) -> Any:
        names, attributes = _reads(function.__code__)
        spaces = [function.__globals__[name] for name in names if name in function.__globals__]
        cells = [_content(cell) for cell in function.__closure__ or ()]
        return (
            function.__code__,
            self.of(function.__defaults__),
            self.of(function.__kwdefaults__),
            *map(self.of, cells),
            *map(self.of, spaces),
            *(self._attributes(space, attributes) for space in (*spaces, *cells)),
        )

    def _attributes(self, space: Any, names: Iterable[str]) -> Any:
        """Return what code may read of a module or class by the names of attributes in it."""
        if not isinstance(space, types.ModuleType | type) or _module_of(space) in _FIXED:
            return None
        return tuple((name, self.of(vars(space)[name])) for name in names if name in vars(space))

    def _object(self, value: Any) -> Any:
        content = getattr(value, "__dict__", None)
        if content is None:
            raise Unknown(f"reads a {type(value).__name__}, whose content is not in sight")
        return self.of(type(value)), self.of(content)


def _function_of(attribute: Any) -> types.FunctionType | None:
    """Return the function that an attribute of a class stands for."""
    if isinstance(attribute, property):
        attribute = attribute.fget
    elif isinstance(attribute, staticmethod | classmethod):
        attribute = attribute.__func__
    return attribute if isinstance(attribute, types.FunctionType) else None


def _is_definition(value: Any) -> bool:
    kinds = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodDescriptorType)
    return isinstance(value, kinds) or not hasattr(value, "__dict__")


def _module_of(value: Any) -> str:
    if isinstance(value, types.ModuleType):
        name: Any = value.__name__
    else:
        name = getattr(value, "__module__", None)
    return name.partition(".")[0] if isinstance(name, str) else ""


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a cell that is empty yet
        return None


@lru_cache(maxsize=1024)
def _reads(code: types.CodeType) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the globals and of the attributes that code reads, that of functions inside it included."""
    names: set[str] = set()
    attributes: set[str] = set()
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            names.add(instruction.argval)
        elif instruction.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            attributes.add(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = _reads(constant)
            names.update(inner[0])
            attributes.update(inner[1])
    return tuple(sorted(names)), tuple(sorted(attributes))
