"""Guards: cheap checks that nothing has changed which a decision was made from.

To decide, one walks through all that a step, or a network, can read. Whether it is all the same is quickly seen by
identity: the walk notes each place where another object could be put, and the object that it found there.
"""

import types
import weakref
from collections.abc import Callable, Iterable, Mapping
from itertools import islice, repeat
from operator import is_
from typing import Any

_MISSING = object()


class Guard:
    """Places that may change, and what was in them; held, so that no other object takes the address of one.

    Functions, classes and objects themselves are not kept alive.
    """

    def __init__(self) -> None:
        self._attributes: list[tuple[weakref.ref[Any], str, Any]] = []
        self._cells: list[tuple[types.CellType, Any]] = []
        self._names: list[tuple[Mapping[str, Any], tuple[str, ...], tuple[Any, ...]]] = []
        self._mappings: list[Mapping[Any, Any]] = []
        self._classes: dict[int, type] = {}  # by their namespaces, which are written on through them
        # entries of which another object with the same form will do: where, a reference to the last one, and its form
        self._places: list[tuple[Mapping[str, Any], str]] = []
        self._last: list[Callable[[], Any]] = []
        self._forms: list[tuple[Callable[[Any], Any], Any]] = []
        self._given: list[Any] = []  # the attributes that somebody may give to them
        self._keyed: list[tuple[Mapping[str, Any], list[str]]] = []
        self._items: list[list[Any]] = []
        self._keys: list[Any] = []
        self._values: list[Any] = []
        self._contents: list[Any] = []
        self._copies: list[tuple[Callable[[], Any], Any]] = []
        self._undo: list[Callable[[], Any]] = []  # how to put back what is watched by value
        self._is_blind = False
        self._is_empty = True

    def watch_attribute(self, owner: Any, name: str) -> None:
        """Watch an attribute that every object of the kind has."""
        self._is_empty = False
        try:
            self._attributes.append((weakref.ref(owner), name, getattr(owner, name)))
        except TypeError:  # an object that takes no weak references
            self.watch_nothing()

    def watch_function(self, function: types.FunctionType) -> None:
        """Watch the code, the defaults and the closure of a function."""
        self._is_empty = False
        for name in ("__code__", "__defaults__", "__kwdefaults__", "__dict__"):
            self.watch_attribute(function, name)
        self._cells += [(cell, _content(cell)) for cell in function.__closure__ or ()]

    def watch_names(self, space: Mapping[str, Any], names: Iterable[str]) -> None:
        """Watch names in a namespace, those that it does not have included."""
        self._is_empty = False
        names = tuple(names)
        self._names.append((space, names, tuple([space.get(name, _MISSING) for name in names])))

    def watch_mapping(self, mapping: Mapping[Any, Any], owner: type | None = None) -> None:
        """Watch all entries of a mapping, possibly of the namespace of a class."""
        self._is_empty = False
        if owner is not None:
            self._classes[id(mapping)] = owner
        self._mappings.append(mapping)
        self._keys += [len(mapping), *mapping]
        self._values += mapping.values()

    def watch_entries(
        self, mapping: Mapping[str, Any], names: Iterable[str], forms: Mapping[str, Callable[[Any], Any]]
    ) -> None:
        """Watch which keys a mapping has, some of its entries by identity, and others by their form.

        Args:
            mapping: the mapping.
            names: keys of the entries that are to be the same objects.
            forms: for each key whose entry may be another object, what is to be equal of both. These entries have no
                attributes of their own, and are not kept alive.
        """
        self._keyed.append((mapping, [*mapping]))
        self.watch_names(mapping, names)
        for name, form in forms.items():
            self._places.append((mapping, name))
            self._last.append(_reference(mapping[name]))
            self._forms.append((form, form(mapping[name])))
            self._given.append(getattr(mapping[name], "__dict__", ()))

    def watch_items(self, items: list[Any]) -> None:
        """Watch the items of a list."""
        self._is_empty = False
        self._items.append(items)
        self._contents += [len(items), *items]

    def changed(self) -> bool:
        """Say whether a place that can be watched holds something else."""
        return not self._all_hold()

    def put_back(self) -> None:
        """Put back what mappings, lists and what is watched by value have held."""
        keys, values, contents = iter(self._keys), iter(self._values), iter(self._contents)
        for mapping in self._mappings:
            names = list(islice(keys, next(keys)))
            held = dict(zip(names, values, strict=False))
            owner = self._classes.get(id(mapping))
            if owner is not None:
                _put_into(owner, held)
            elif isinstance(mapping, dict) and not _same(mapping, held):
                mapping.clear()
                mapping.update(held)
        for items in self._items:
            items[:] = islice(contents, next(contents))
        for undo in self._undo:
            undo()

    def _all_hold(self) -> bool:
        # at each call: plain loops, and mappings and lists in a row, cost less than other ways to look
        for owner, name, value in self._attributes:
            if getattr(owner(), name, _MISSING) is not value:
                return False
        for cell, value in self._cells:
            if _content(cell) is not value:
                return False
        for space, names, found in self._names:
            if not all(map(is_, map(space.get, names, repeat(_MISSING)), found)):
                return False
        for keyed, keys in self._keyed:
            if [*keyed] != keys:
                return False
        for look, value in self._copies:
            if look() != value:
                return False
        return self._collections_hold() and self._forms_hold()

    def _forms_hold(self) -> bool:
        values = [mapping.get(key, _MISSING) for mapping, key in self._places]
        last = [reference() for reference in self._last]
        for place, (form, found) in enumerate(self._forms):
            # of the same object as well, for the form of a tensor may change in place
            if values[place] is _MISSING or form(values[place]) != found:
                return False
            if values[place] is not last[place]:
                # who is interrupted in between looks at its form again
                self._given[place] = getattr(values[place], "__dict__", ())
                self._last[place] = _reference(values[place])
        return not any(self._given)

    def _collections_hold(self) -> bool:
        keys: list[Any] = []
        values: list[Any] = []
        contents: list[Any] = []
        for mapping in self._mappings:
            keys.append(len(mapping))
            keys += mapping
            values += mapping.values()
        if keys != self._keys or not all(map(is_, values, self._values)):
            return False
        for items in self._items:
            contents.append(len(items))
            contents += items
        return len(contents) == len(self._contents) and all(map(is_, contents, self._contents))

    def watch_value(self, look: Callable[[], Any], undo: Callable[[], Any] | None = None) -> None:
        """Watch what a function returns, by value; ``undo`` makes it so again."""
        self._is_empty = False
        self._copies.append((look, look()))
        if undo is not None:
            self._undo.append(undo)

    def watch_tree(self, tree: Any) -> None:
        """Watch the lists and dicts of a tree, whose leaves are watched by somebody else."""
        if isinstance(tree, list):
            self.watch_items(tree)
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
        """Say whether each place holds the object that it held; False as well if one cannot be watched."""
        if self._is_blind:
            return False
        if self._is_empty:
            return True
        try:
            return self._all_hold()
        except RuntimeError:  # another thread changes a mapping meanwhile
            return False


def _reference(value: Any) -> Callable[[], Any]:
    """Return what returns a value as long as somebody else holds it; an object without weak references is kept."""
    try:
        return weakref.ref(value)
    except TypeError:
        return lambda: value


def _same(mapping: Mapping[Any, Any], held: Mapping[Any, Any]) -> bool:
    return [*mapping] == [*held] and all(map(is_, mapping.values(), held.values()))


def _put_into(owner: type, held: Mapping[str, Any]) -> None:
    for name in {*vars(owner)} - {*held}:
        delattr(owner, name)
    for name, value in held.items():
        if vars(owner).get(name, _MISSING) is not value:
            setattr(owner, name, value)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a cell that is empty yet
        return _MISSING
