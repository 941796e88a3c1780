"""What a step is, by value: two steps with equal identities trace to the same program.

A step is its code together with all that the code can read: defaults, closure, globals, attributes of functions,
modules, classes and objects. A number that changes there changes the identity. What is not understood for certain has
none, and its step is traced anew at each call: that costs milliseconds, and a stale number would cost a result.
"""

import builtins
import functools
import random
import threading
import types
from collections import OrderedDict, deque, namedtuple
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

from spikingtorch.functional.core.bytecode import (
    DEFINITIONS,
    FIXED,
    OPAQUE,
    Reads,
    cells_of,
    changes_by_methods,
    changes_of,
    module_of,
    reads_of,
)
from spikingtorch.functional.core.guard import Guard
from spikingtorch.functional.core.torch_private import has_global_hook
from spikingtorch.functional.core.whole import whole
from spikingtorch.functional.fused.errors import NotFusible

T = TypeVar("T")
_LIMIT = 5000  # values; a step that reads more is no small function of its parameters
# what a trace answers otherwise than the loop
_MODES = {
    "needs_input_grad",
    "is_autocast_enabled",
    "is_grad_enabled",
    "requires_grad",
    "grad_fn",
    "is_leaf",
    "is_inference",
    "is_inference_mode_enabled",
}
# classes of classes that add nothing which a step reads; generators of random numbers
_METACLASSES = {"builtins", "abc", "torch", "typing", "enum"}
_DRAWS = (random.Random, np.random.Generator, np.random.RandomState, torch.Generator)
_SMALL = 2**20  # bytes of an array that is copied to see whether a step writes on it
_PLAIN = (type(None), bool, int, str, bytes, float, complex, torch.dtype, torch.device)
_GENERATED = {*vars(namedtuple("_Empty", [])), "__orig_bases__", "__static_attributes__", "__firstlineno__"}
_ABOUT_CLASSES = {
    *("_abc_impl", "__abstractmethods__", "_backward_cls", "_is_protocol", "__protocol_attrs__"),
    "__non_callable_proto_members__",
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
_OF_ENUMS = {*vars(Enum("_Empty", []))}


class NoStepKey(Exception):
    """Something that has no identity by value."""


class SideEffect(NotFusible):
    """A step changes what is outside of it, which nothing but the loop does at each step."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}, which no kernel does at each step. Give it out as one more output, or carry it in the state"
        )


def step_key(*values: Any) -> tuple[Any, ...]:
    """Return a hashable that is equal for values which a step cannot tell apart.

    Raises:
        NoStepKey: there is none, because not all that the values can read is in sight.
        NotFusible: a step asks what a trace answers otherwise than the loop.
        SideEffect: it changes what is outside of it.
    """
    return guarded_key(*values)[0]


def guarded_key(*values: Any) -> tuple[tuple[Any, ...], Guard]:
    """Return the key of values, and a guard that tells whether they still have it; see ``step_key``."""
    key, walk = _walked(values)
    if walk.missing is not None:
        raise walk.missing
    return key, walk.guard


class Found(NamedTuple):
    """What a walk through values has found.

    Attributes:
        key: of the values, None if there is none.
        looks: whether they look at numbers otherwise than by arithmetic.
        guard: sees whether something in sight has changed.
    """

    key: tuple[Any, ...] | None
    looks: bool
    guard: Guard


def found_in(*values: Any) -> Found:
    """Return what there is to know of values; see ``step_key`` for the errors, but for NoStepKey."""
    key, walk = _walked(values)
    return Found(None if walk.missing is not None else key, walk.looks, walk.guard)


def _walked(values: Iterable[Any]) -> tuple[tuple[Any, ...], "_Walk"]:
    """Walk through values, once more where functions that are found read attributes of other names."""
    names: set[str] = set()
    while True:
        walk = _Walk(names)
        try:
            key = tuple([walk.of(value) for value in values])
        except NoStepKey as missing:  # there is too much of it
            walk.missing = missing
            return (), walk
        if walk.names <= names:
            walk.check_objects()
            return key, walk
        names |= walk.names


def check_pure(step: Any) -> None:
    """Raise where a step changes what is outside of it, as far as that is in sight.

    Raises:
        SideEffect: it does.
    """
    try:
        step_key(step)
    except SideEffect:
        raise
    except (NoStepKey, NotFusible):
        pass


def undone(guard: Guard | None, work: Callable[[], T]) -> T:
    """Return what a look at a step finds that runs it: what the guard sees is put back afterwards.

    Raises:
        SideEffect: the step has changed something.
    """
    if guard is None:
        return work()

    def put_back() -> None:
        if guard.changed():
            guard.put_back()

    def look() -> T:
        found = work()
        if guard.changed():
            put_back()
            raise SideEffect("changes something outside of it")
        return found

    return whole(look, put_back)


def guard_of(step: Any) -> Guard | None:
    """Return what sees whether something has changed that a step can read, as far as it is in sight.

    Raises:
        SideEffect: a look at the code tells already.
    """
    try:
        return found_in(step).guard
    except SideEffect:
        raise
    except NotFusible:
        return None


def check_containers(step: Any, kinds: Iterable[type]) -> None:
    """Raise where a step may change a list or the like among its parameters.

    Args:
        step: as in scan.
        kinds: types of what lies in its parameters.

    Raises:
        SideEffect: it may.
    """
    changes = reads_of(step.__code__).changes if isinstance(step, types.FunctionType) else ()
    for kind in kinds if changes else ():
        if kind in (list, dict, deque) and (told := changes_of(kind(), changes)):
            raise SideEffect(f"may change a {kind.__name__} among its parameters ({told[0]})")


def is_immutable(value: Any) -> bool:
    """Say whether a value can neither change nor read what can."""
    kind = type(value)
    if kind in _PLAIN:
        return True
    if isinstance(value, DEFINITIONS):
        return module_of(value) in FIXED and not cells_of(value)
    named = issubclass(kind, tuple) and hasattr(kind, "_fields")
    return (kind is tuple or (named and is_immutable(kind))) and all(map(is_immutable, value))


class _Walk:
    """One walk, for attributes of some names, which modules may have anywhere.

    Attributes:
        names: that the code reads, as far as it was found.
        guard: sees whether something has changed.
        looks: whether the code looks at numbers otherwise than by arithmetic.
        missing: what has no key; the walk goes on, for what else it finds.
    """

    def __init__(self, read: set[str]) -> None:
        self.names: set[str] = set()
        self._read = read
        self._objects: list[Any] = []
        self.missing: NoStepKey | None = None
        self._seen: dict[int, int] = {}
        self._alive: list[Any] = []
        self._inside: list[types.ModuleType] = []  # the modules that are looked into
        self._in_class = False  # whose methods are looked at where they are called
        self.guard = Guard()
        self.looks = False

    def _unknown(self, why: str) -> None:
        self.missing = self.missing or NoStepKey(why)

    def of(self, value: Any) -> Any:
        """Return the identity of a value."""
        if type(value) in _PLAIN or isinstance(value, np.generic):
            return type(value), repr(value)  # apart from ==, it tells -0.0 from 0.0 and knows NaN
        if isinstance(value, types.BuiltinFunctionType) and not isinstance(value.__self__, types.ModuleType | type):
            return value.__name__, self.of(value.__self__)  # the get of a dict, say
        if isinstance(value, DEFINITIONS) and module_of(value) in FIXED and not cells_of(value):
            if value.__name__ in OPAQUE:  # by another name
                self._unknown(f"calls {value.__name__}")
            return value
        if id(value) in self._seen:
            return "seen", self._seen[id(value)]
        self._seen[id(value)] = len(self._seen)
        self._alive.append(value)  # so that no two values of a walk have the same id
        if len(self._seen) > _LIMIT:
            raise NoStepKey(f"reads more than {_LIMIT} values")
        return self._compound(value)

    def _compound(self, value: Any) -> Any:
        kind: Any = type(value)
        if kind is list:
            self.guard.watch_items(value)
        if kind in (tuple, list) or (issubclass(kind, tuple) and hasattr(kind, "_fields")):
            return self.of(kind), *map(self.of, value)
        if isinstance(value, _DRAWS):
            raise SideEffect(f"draws random numbers from a {kind.__name__}")
        if isinstance(value, Iterator):
            raise SideEffect(f"may use up a {kind.__name__}")
        if kind in (dict, OrderedDict):
            self.guard.watch_mapping(value)
            return kind, *((self.of(key), self.of(item)) for key, item in value.items())
        self._watch_by_value(value)
        if kind is deque:
            return kind, value.maxlen, *map(self.of, value)
        if kind in (set, frozenset):
            return kind, frozenset(map(self.of, value))
        if kind is functools.partial:
            return kind, *map(self.of, (value.func, value.args, value.keywords, value.__dict__))
        if kind is types.MethodType:
            self._check_unchanged(value.__func__, [value.__self__])
            return kind, self.of(value.__func__), self.of(value.__self__)
        if kind is types.FunctionType:
            return self._function(value)
        if kind is types.ModuleType:
            return value, self._module(value, sorted(self._read))
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, DEFINITIONS):
            return value
        return self._object(value)

    def _watch_by_value(self, value: Any) -> None:
        """Watch a container whose content is not looked at in place."""
        if type(value) is deque:
            kept = [*value]
            self.guard.watch_value(lambda: [*map(id, value)], lambda: _refill(value, kept))
        elif type(value) is set:
            # by identity: 1, 1.0 and True are equal
            self.guard.watch_value(lambda: {*map(id, value)}, partial(_refill, value, value.copy()))
        elif (
            isinstance(value, np.ndarray) and value.nbytes <= _SMALL and value.dtype != object and value.flags.writeable
        ):
            self.guard.watch_value(value.tobytes, partial(np.copyto, value, value.copy()))

    def _function(self, function: types.FunctionType) -> Any:
        self.guard.watch_function(function)
        if module_of(function) in FIXED:  # a wrapper of torch's, say, around a function of the user's
            self.looks = self.looks or module_of(function) == "functools"
            return function, *map(self.of, cells_of(function))
        reads = reads_of(function.__code__)
        _check_answers(reads)
        self.names.update(reads.attributes, reads.texts if {*reads.names} & {"getattr", "hasattr"} else ())
        self.looks = self.looks or bool(reads.looks)
        self._check_code(function, reads)
        self.guard.watch_names(function.__globals__, reads.names)
        spaces = [function.__globals__[name] for name in reads.names if name in function.__globals__]
        cells = cells_of(function)
        self._check_unchanged(function, [*cells, *spaces, *(function.__defaults__ or ()), *vars(function).values()])
        if reads.opaque:
            self._unknown(f"calls {reads.opaque}")
        for each in (*spaces, *cells):
            if isinstance(each, DEFINITIONS) and getattr(each, "__name__", "") in _MODES:  # by another name
                raise NotFusible(f"asks for {each.__name__}, which a trace answers otherwise than the loop")
        modules = [space for space in (*spaces, *cells) if isinstance(space, types.ModuleType)]
        others = [space for space in (*cells, *spaces) if not isinstance(space, types.ModuleType)]
        read = (function.__defaults__, function.__kwdefaults__, function.__dict__, *others)
        return (
            function.__code__,
            *map(self.of, read),
            *(self._module(module, sorted({*reads.attributes, *self._read})) for module in modules),
        )

    def _check_code(self, function: types.FunctionType, reads: Reads) -> None:
        """Raise where code does what the loop alone does as it is meant; methods that nobody calls may do it."""
        outside = vars(builtins) | function.__globals__ if reads.identity else {}
        outside |= zip(function.__code__.co_freevars, cells_of(function), strict=True)
        for name in reads.identity:
            variable, _, attribute = name.partition(".")
            found = outside.get(variable)
            found = getattr(found, attribute, None) if attribute else found
            if isinstance(found, (type(None), float, tuple, list, dict, torch.Tensor)):
                raise NotFusible(f"compares objects by identity (is {name or '...'}), which are others in a trace")
        if self._in_class:
            return
        if "id" in reads.names:
            raise NotFusible("compares objects by identity (id), which are others in a trace")
        if reads.catches:
            raise NotFusible("goes on after an error that it catches, which a trace may raise and the loop not")
        if reads.rebinds:
            raise SideEffect(f"assigns to {reads.rebinds}, a variable outside of it")

    def _check_unchanged(self, function: Any, outside: Iterable[Any]) -> None:
        """Raise where a function may change something that it did not make itself."""
        if self._in_class or not isinstance(function, types.FunctionType):
            return
        reads = reads_of(function.__code__)
        for value in outside:
            changes = [*changes_of(value, reads.changes), *changes_by_methods(value, reads.attributes)]
            if isinstance(value, Iterator):
                changes.append("next")
            if changes:
                raise SideEffect(f"may change a {type(value).__name__} outside of it ({changes[0]})")

    def _module(self, module: types.ModuleType, names: Iterable[str]) -> Any:
        """Return what code can read of a module, and of modules in it, by the names of attributes."""
        if module_of(module) in FIXED:
            return None
        if "__getattr__" in vars(module):
            return self._unknown("reads a module that makes its attributes")
        self.guard.watch_names(vars(module), names)
        found = {name: vars(module)[name] for name in names if name in vars(module)}
        inner = [item for item in found.values() if isinstance(item, types.ModuleType) and item not in self._inside]
        self._inside.append(module)  # modules of a package hold each other
        try:
            return (*((name, self.of(item)) for name, item in found.items()), *(self._module(m, names) for m in inner))
        finally:
            self._inside.pop()

    def _class(self, cls: type) -> Any:
        if module_of(type(cls)) not in _METACLASSES:
            return self._unknown(f"reads a {type(cls).__name__}, a class of another kind")
        skipped = _GENERATED if issubclass(cls, tuple) and hasattr(cls, "_fields") else _ABOUT_CLASSES
        skipped = {*skipped, *getattr(cls, "_fields", ())}
        members = cls.__members__ if issubclass(cls, Enum) else {}
        skipped |= _OF_ENUMS if members else set()
        content = {name: item for name, item in vars(cls).items() if name not in skipped} | {**members}
        outer, self._in_class = self._in_class, True
        try:
            return self._content(cls, content)
        finally:
            self._in_class = outer

    def _content(self, cls: type, content: dict[str, Any]) -> Any:
        self.guard.watch_mapping(vars(cls), cls)
        self.guard.watch_attribute(cls, "__bases__")
        return cls, *map(self.of, cls.__bases__), *((name, self._attribute(item)) for name, item in content.items())

    def _attribute(self, item: Any) -> Any:
        if isinstance(item, property):
            return property, *map(self.of, (item.fget, item.fset, item.fdel))
        if isinstance(item, staticmethod | classmethod):
            return type(item), self.of(item.__func__)
        if hasattr(type(item), "__get__") and not isinstance(item, DEFINITIONS):
            return self._unknown(f"has an attribute that is a {type(item).__name__}")
        return self.of(item)

    def _object(self, value: Any) -> Any:
        """Return the identity of an object that keeps what it has in its ``__dict__`` and nowhere else."""
        kind = type(value)
        if isinstance(value, torch.nn.Module):
            self._check_hooks()
        bases = [base for base in kind.__mro__ if base is not object]
        if (
            module_of(type(kind)) not in _METACLASSES
            or any("__slots__" in vars(base) for base in bases)
            or not hasattr(value, "__dict__")
        ):
            return self._unknown(f"reads a {kind.__name__}, whose content is not in sight")
        if isinstance(value, threading.local):
            return self._unknown("reads what each thread has for itself")
        own = (torch.nn.Module, *(bases if isinstance(value, Enum) else ()))  # a member holds its value in what it has
        if any(module_of(base) in FIXED and base not in own for base in bases):
            return self._unknown(f"reads a {kind.__name__}")
        if changes := changes_by_methods(value, ()):
            raise SideEffect(f"may change itself ({changes[0]})")
        self._objects.append(value)
        methods = [] if self._in_class else [getattr(kind, name, None) for name in ("__call__", "forward")]
        ours = [each for each in methods if isinstance(each, types.FunctionType) and module_of(each) not in FIXED]
        called = tuple(map(self.of, ours))  # before the class, whose methods may do what is not called
        self.guard.watch_attribute(value, "__class__")
        if value.__dict__ is value.__dict__:  # some make it anew whenever they are asked
            self.guard.watch_attribute(value, "__dict__")
        return called, self.of(kind), self.of(value.__dict__)

    def _check_hooks(self) -> None:
        """Raise where all modules are called with hooks."""
        self.guard.watch_value(has_global_hook)
        if has_global_hook():
            raise SideEffect("holds a module, and hooks are registered for all modules, which may change anything")

    def check_objects(self) -> None:
        """Raise where an object that was found changes itself by a method that may be called."""
        called = [name for name in self.names if not name.startswith("__")]
        for value in self._objects:
            if changes := changes_by_methods(value, called):
                raise SideEffect(f"may change itself ({changes[0]} in {type(value).__name__})")


def _refill(container: deque[Any] | set[Any], held: Iterable[Any]) -> None:
    container.clear()
    container.extend(held) if isinstance(container, deque) else container.update(held)


def _check_answers(reads: Reads) -> None:
    """Raise where code asks for what a trace answers otherwise than the loop."""
    if reads.looks and "Parameter" in (*reads.names, *reads.attributes):
        raise NotFusible("asks for Parameter, which a trace answers otherwise than the loop")
    if asked := {*reads.names, *reads.attributes} & _MODES:
        raise NotFusible(f"asks for {min(asked)}, which a trace answers otherwise than the loop")
