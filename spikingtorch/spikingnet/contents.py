"""The contents of a network's modules, put back for a second run of a chunk of steps."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from operator import is_
from types import FunctionType
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

from spikingtorch.functional.core.sharing import version_of
from spikingtorch.functional.core.surroundings import rewind_of
from spikingtorch.functional.core.torch_private import dict_version
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.frame import CHANGES

# tables of torch's modules whose entries a call can read, and those that it cannot or that have rules of their own
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_READ = ("_modules", *_HOOKS, *(f"{each}_with_kwargs" for each in _HOOKS), "_forward_hooks_always_called")
_UNREAD = frozenset(vars(nn.Module())) - {*_READ, "training"}
_NOTHING: frozenset[str] = frozenset()
_CONTAINERS = (dict, list, set, deque)  # a tuple, because a union takes twice as long


class Contents:
    """What the modules of a network hold at one moment.

    It has their classes and attributes, with submodules and hooks; the entries of the lists, dicts, sets and deques
    among these; and the states of the generators of random numbers in them. Parameters and buffers are not part of it.
    A tensor is kept by reference: ``overwritten`` finds one whose numbers have changed. ``options`` are attributes of
    another module that count as well, and this module.
    """

    def __init__(self, modules: Iterable[nn.Module], options: tuple[nn.Module, Iterable[str]]) -> None:
        self._held: list[tuple[Any, Any, frozenset[str]]] = []  # a container, its entries, names that do not matter
        self._tensors: list[tuple[str, Tensor, int]] = []
        self._generators: list[tuple[Any, Callable[[], object]]] = []
        owner, names = options
        self._held.append((vars(owner), {name: vars(owner)[name] for name in names}, frozenset(vars(owner)) - {*names}))
        seen = {id(each) for module in modules for each in chain(module._parameters.values(), module._buffers.values())}
        # a lazy module becomes one of another class in its first call, and its own hook does that
        there = [module for module in modules if not isinstance(module, LazyModuleMixin)]
        self._classes = [(module, type(module)) for module in there]
        for module in there:
            passed_over = _UNREAD | CHANGES if isinstance(module, StatefulLayer) else _UNREAD
            self._note("", vars(module), passed_over, seen)
        self._versions = [*map(_version, self._held)]
        self.draws = bool(self._generators)  # whether there are generators, whose states may change

    def _note(self, name: str, value: Any, passed_over: frozenset[str], seen: set[int]) -> None:
        if isinstance(value, Tensor):
            if id(value) not in seen:
                seen.add(id(value))
                self._tensors.append((name, value, version_of(value)))
        elif isinstance(value, _CONTAINERS):
            if id(value) in seen:
                return
            seen.add(id(value))
            entries = _entries(value, passed_over)
            self._held.append((value, entries, passed_over))
            for key, entry in _named(name, entries):
                if type(entry) not in _PLAIN:
                    self._note(key, entry, _NOTHING, seen)
        elif isinstance(value, tuple):
            for each in value:
                self._note(name, each, _NOTHING, seen)
        elif (rewind := rewind_of(value)) is not None:
            self._generators.append((value, rewind))

    def overwritten(self) -> tuple[str, Tensor] | None:
        """Return the name of a tensor that has been written on since, and the tensor; None if there is none."""
        return next(((name, each) for name, each, version in self._tensors if version_of(each) != version), None)

    def changed(self) -> bool:
        """Return True if modules are of other classes now, or modules or containers have other entries."""
        if any(type(module) is not kind for module, kind in self._classes):
            return True
        for place, before in zip(self._held, self._versions, strict=True):
            held, entries, passed_over = place
            if (before is None or _version(place) != before) and not _same(_entries(held, passed_over), entries):
                return True
        return False

    def put_back(self, puts: list[Callable[[], object]]) -> None:
        """Put the contents back, and add what undoes this to a list."""
        for module, kind in self._classes:
            if type(module) is not kind:
                puts.append(partial(setattr, module, "__class__", type(module)))
                module.__class__ = kind
        for container, entries, passed_over in self._held:
            now = _entries(container, passed_over) if passed_over else container
            if not _same(now, entries):
                now = now if passed_over else _entries(container, passed_over)
                puts.append(partial(_write, container, now, passed_over))
                _write(container, entries, passed_over)
        for generator, rewind in self._generators:
            undo = rewind_of(generator)
            assert undo is not None
            puts.append(undo)
            rewind()


_PLAIN = frozenset((type(None), bool, int, float, str, type, FunctionType))


def _version(place: tuple[Any, Any, frozenset[str]]) -> int | None:
    """Return a number that changes with each write into a dict; None for another container."""
    version: int | None = dict_version(place[0]) if type(place[0]) is dict else None
    return version


def _entries(container: Any, passed_over: frozenset[str]) -> Any:
    """Return a shallow copy of a container, without the names that do not matter."""
    if not isinstance(container, dict):
        return container.copy()
    return {name: container[name] for name in container if name not in passed_over} if passed_over else {**container}


def _named(name: str, entries: Any) -> Iterator[tuple[str, Any]]:
    return (
        iter(entries.items()) if isinstance(entries, dict) and not name else ((name, each) for each in _values(entries))
    )


def _values(entries: Any) -> Any:
    return entries.values() if isinstance(entries, dict) else entries


def _same(now: Any, entries: Any) -> bool:
    if isinstance(now, set):  # whose order is not known
        return {*map(id, now)} == {*map(id, entries)}
    if len(now) != len(entries):
        return False
    keys = not (now and isinstance(now, dict)) or [*now] == [*entries]
    return keys and all(map(is_, _values(now), _values(entries)))


def _write(container: Any, entries: Any, passed_over: frozenset[str]) -> None:
    """Give a container other entries, in their order."""
    if not isinstance(container, dict):
        container.clear()
        (container.update if isinstance(container, set) else container.extend)(entries)
        return
    if passed_over:  # the attributes of a module, some of which another thread may read meanwhile
        for name in [name for name in container if name not in entries and name not in passed_over]:
            del container[name]
    else:
        container.clear()
    container.update(entries)
