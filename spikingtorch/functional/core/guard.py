"""Guards: remember the objects that a decision was made from, see whether they have changed, and restore them.

A decision walks through all that a step or a network can read. It notes each place where another object could be put,
and the object there. A comparison by identity then shows quickly whether anything has changed.
"""

import types
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain, repeat
from operator import attrgetter, call, eq, is_
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from spikingtorch.functional.core.bytecode import content_of
from spikingtorch.functional.core.torch_private import dict_version, is_note_of_compiler

_MISSING = object()
_END = (object(),)  # behind the last object, so that a container that has grown differs
_STRIDED = torch.strided
_call: Any = call  # of a function with an argument, which type checkers do not see


def form_of(value: Any) -> Any:
    """Return all that code can ask of a tensor, except its numbers, its identity and the values of its attributes."""
    if not isinstance(value, Tensor):
        return value
    layout = value.layout
    strides = value.stride() if layout is _STRIDED else None
    graph = value.requires_grad, value.grad_fn is None, *attributes_of(value)
    return type(value), value.shape, value.dtype, value.device, layout, strides, graph


def attributes_of(tensor: Tensor) -> dict[str, Any]:
    """Return the attributes that were set on a tensor, without the notes that torch's compiler makes there."""
    return {name: item for name, item in tensor.__dict__.items() if not is_note_of_compiler(name)}


class _Place(NamedTuple):
    """A place that may change."""

    name: str  # for messages
    # returns its content: one object, or several with ``_END`` behind them unless their number is fixed
    look: Callable[[], Any]
    held: Any  # the content at the time of the decision
    same: Callable[[Any, Any], bool]  # compares two contents
    put_back: Callable[[], object]  # restores the content
    parts: Sequence[str] = ()  # names of the objects in it, one for each

    def changed(self) -> str | None:
        """Return the name of the object that has changed, for messages."""
        if self.same(self.look(), self.held):
            return None
        rows = zip(self.parts, self.look(), self.held, strict=True) if self.parts else ()
        part = next((part for part, now, before in rows if now is not before), None)
        return self.name if part is None else f"{part}, {self.name}"


class Guard:
    """Places that may change, and their content, which is kept alive so that no other object takes its address.

    The owners (functions, classes and objects) are not kept alive, unless they take no weak references.
    """

    def __init__(self) -> None:
        self._places: list[_Place] = []
        # places that are compared by identity, in a row: one pass over them is the cheapest check at each call
        self._looks: list[Callable[[], Any]] = []
        self._held: list[Any] = []
        # the same for entries of dicts, which are compared when a dict has been written into
        self._dicts: dict[int, Any] = {}  # by id
        self._entries: list[_Place] = []
        self._versions: list[int] = []
        # attributes, which C code reads for all owners at once
        self._owners: list[Callable[[], Any]] = []
        self._getters: list[Callable[[Any], Any]] = []
        self._attributes: list[Any] = []
        self._valued: list[_Place] = []
        self._is_blind = False

    def watch_attributes(self, owner: Any, *names: str) -> None:
        """Watch attributes of a function, a class or an object; adding a missing attribute is a change."""
        try:
            reference: Callable[[], Any] = weakref.ref(owner)
        except TypeError:  # an object that takes no weak references is kept
            reference = lambda: owner  # noqa: E731

        def read(name: str) -> Any:
            return getattr(reference(), name, _MISSING)

        def put(name: str, value: Any) -> None:
            delattr(reference(), name) if value is _MISSING else setattr(reference(), name, value)

        name = f"an attribute of a {type(owner).__name__}"
        there = [key for key in names if read(key) is not _MISSING]
        if there:
            place = _place_of(name, there, read, put)
            self._places.append(place)
            self._owners.append(reference)
            # two names at least: with one name, the getter returns no tuple
            self._getters.append(attrgetter(*there, "__class__"))
            self._attributes += [*place.held, owner.__class__]
        if missing := [key for key in names if key not in there]:
            self._note(_place_of(name, missing, read, put))

    def watch_function(self, function: types.FunctionType) -> None:
        """Watch the code, the defaults and the closure of a function."""
        self.watch_attributes(function, "__code__", "__defaults__", "__kwdefaults__", "__dict__")

        def put(cell: types.CellType, value: Any) -> None:
            if value is _MISSING:
                del cell.cell_contents
            else:
                cell.cell_contents = value

        if cells := function.__closure__:
            read = partial(content_of, empty=_MISSING)
            self._note(_place_of("a variable", cells, read, put, parts=function.__code__.co_freevars))

    def watch_names(self, space: dict[str, Any], names: Iterable[str]) -> None:
        """Watch names in a namespace, including names that are missing."""

        def put(name: str, value: Any) -> None:
            space.pop(name) if value is _MISSING else space.update({name: value})

        names = tuple(names)
        look: Any = partial(map, space.get, names, repeat(_MISSING))
        self._note(_place_of("a variable", names, lambda name: space.get(name, _MISSING), put, look), space)

    def _note(self, place: _Place, mapping: Any = None) -> None:
        self._places.append(place)
        if type(mapping) is dict:  # those of classes, and subclasses, have no version
            self._dicts[id(mapping)] = mapping
            self._entries.append(place)
            self._versions = []
        elif place.same is _identical:
            self._looks.append(place.look)
            self._held += place.held
        else:
            self._valued.append(place)

    def watch_mapping(self, mapping: Mapping[Any, Any], owner: type | None = None, name: str = "a dict") -> None:
        """Watch all entries of a mapping, possibly the namespace of a class, which is written through the class."""
        held = dict(mapping)

        def put_back() -> None:
            if isinstance(mapping, dict):
                mapping.clear()
                mapping.update(held)
            for name in {*vars(owner)} - {*held} if owner is not None else ():
                delattr(owner, name)
            for name, value in held.items() if owner is not None else ():
                if vars(owner).get(name, _MISSING) is not value:
                    setattr(owner, name, value)

        name = name if owner is None else f"the class {owner.__name__}"
        look = partial(chain, mapping, mapping.values(), _END)
        self._note(_Place(name, look, [*held, *held.values(), *_END], _identical, put_back), mapping)

    def watch_entries(self, mapping: dict[str, Any], forms: Mapping[str, Callable[[Any], Any] | None]) -> None:
        """Watch the keys of a mapping, some of its entries by identity, and others by their form.

        For each key that matters, ``forms`` has the function whose value must stay equal for the entry, or None if the
        entry must stay the same object.
        """
        self._note(_Place("a dict", lambda: [*mapping], [*mapping], eq, _nothing), mapping)
        self.watch_names(mapping, [name for name, form in forms.items() if form is None])
        looked_at = [(name, form) for name, form in forms.items() if form is not None]
        if looked_at:
            self.watch_value(lambda: [form(mapping[name]) if name in mapping else _MISSING for name, form in looked_at])

    def watch_content(self, value: Any) -> None:
        """Watch the content of a known kind of container and the state of a torch generator; ignore all else."""
        name = f"a {type(value).__name__}"
        if isinstance(value, dict):
            self.watch_mapping(value)
        elif isinstance(value, list | deque):
            held, put_items = [*value], partial(_refill, value, value.extend, [*value])
            self._note(_Place(name, partial(chain, value, _END), [*held, *_END], _identical, put_items))
        elif isinstance(value, set):
            # by identity: 1, 1.0 and True are equal
            put_members = partial(_refill, value, value.update, value.copy())
            self._note(_Place(name, lambda: {*map(id, value)}, {*map(id, value)}, eq, put_members))
        elif isinstance(value, np.ndarray) and value.flags.writeable:
            kept_array = value.copy()
            self._note(_Place(name, value.tobytes, value.tobytes(), eq, partial(np.copyto, value, kept_array)))
        elif isinstance(value, torch.Generator):
            state = value.get_state()
            self._note(_Place(name, value.get_state, state, torch.equal, partial(value.set_state, state)))

    def watch_form(self, tensor: Tensor) -> None:
        """Watch the form of a tensor, and its attributes."""
        reference, trained, own = weakref.ref(tensor), tensor.requires_grad, attributes_of(tensor)
        if own:
            self.watch_names(vars(tensor), own)
        names = [*own]

        def put_back() -> None:
            if (alive := reference()) is None:
                return
            if alive.requires_grad != trained:
                alive.requires_grad_(trained)
            for name in {*attributes_of(alive)}.difference(names):
                delattr(alive, name)

        self._note(_Place("a tensor", lambda: form_of(reference()), form_of(tensor), eq, put_back))

    def watch_value(self, look: Callable[[], Any]) -> None:
        """Watch the value that a function returns."""
        self._note(_Place("something", look, look(), eq, _nothing))

    def watch_tree(self, tree: Any) -> None:
        """Watch the lists and dicts of a tree; its leaves are watched elsewhere."""
        if isinstance(tree, list):
            self.watch_content(tree)
        if type(tree) is dict:
            self.watch_mapping(tree)
            tree = list(tree.values())
        if isinstance(tree, tuple | list):
            for child in tree:
                self.watch_tree(child)

    def watch_nothing(self, blind: bool = True) -> None:
        """Note something that cannot be watched."""
        self._is_blind = self._is_blind or blind

    def unchanged(self) -> bool:
        """Return True if each place holds the same content as before; False if a place cannot be watched."""
        if self._is_blind or not self._places:  # a step of this library has none
            return not self._is_blind
        try:
            versions = list(map(dict_version, self._dicts.values()))  # before the dicts are read
            if versions != self._versions:
                for place in self._entries:
                    if not place.same(place.look(), place.held):
                        return False
                self._versions = versions
            attributes = chain.from_iterable(map(_call, self._getters, map(call, self._owners)))
            if not all(map(is_, attributes, self._attributes)):
                return False
            if self._looks and not all(map(is_, chain.from_iterable(map(call, self._looks)), self._held)):
                return False
            for place in self._valued:
                if not place.same(place.look(), place.held):
                    return False
        except (RuntimeError, AttributeError):  # another thread changes a mapping, or an attribute is gone
            return False
        return True

    def changed(self) -> str | None:
        """Return the name of a place whose content has changed, of the places that can be watched."""
        return next((name for place in self._places if (name := place.changed()) is not None), None)

    def put_back(self) -> None:
        """Restore the content of the places."""
        for place in self._places:
            if not place.same(place.look(), place.held):
                place.put_back()


def _place_of(
    name: str,
    keys: Sequence[Any],
    read: Callable[[Any], Any],
    put: Callable[[Any, Any], object],
    look: Callable[[], Any] | None = None,
    parts: Sequence[str] = (),
) -> _Place:
    """Return a place of several objects, which are read and restored one by one."""
    held = [*map(read, keys)]

    def put_back() -> None:
        for key, value in zip(keys, held, strict=True):
            if read(key) is not value:
                put(key, value)

    return _Place(name, look or partial(map, read, keys), held, _identical, put_back, parts or keys)


def _identical(found: Iterable[Any], held: list[Any]) -> bool:
    return all(map(is_, found, held))


def _refill(container: Any, fill: Callable[[Any], object], held: Any) -> None:
    container.clear()
    fill(held)


def _nothing() -> None:
    """Put nothing back."""
