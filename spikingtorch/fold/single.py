"""A batch of one sample: whether a network does to it what it does to each sample of several.

Of one sample, torch takes for contiguous what it copies of several: ``reshape`` is a view in place of a copy and a
view, and ``contiguous`` is nothing in place of a copy. The entries are the same and in the same order, so that two
traces are compared without copies, and with one name for both views.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils import _pytree as pytree

from spikingtorch.fold.operations import Batch, Value
from spikingtorch.fold.replay import Expected
from spikingtorch.fold.trace import Call, Noted, Objection

_VIEW = torch.ops.aten.view.default
_COPIES, _VIEWS = (torch.ops.aten.clone.default,), (_VIEW, torch.ops.aten._unsafe_view.default)


class _Row(NamedTuple):
    """A call, its name without regard to copies, and the tensors of its arguments and results, copies left out."""

    call: Call
    func: Any
    given: Any
    made: Any


def check_single(calls: Sequence[Call], expected: Sequence[Expected], constant: Callable[[Noted], object]) -> None:
    """Raise unless the trace of one sample is, but for copies, that of several.

    Args:
        calls: the trace of one sample.
        expected: the calls of the traces of several.
        constant: tells tensors that no operation made apart.

    Raises:
        Objection: it is another one.
    """
    copies = [call.func for call in calls] != [each.call.func for each in expected]
    ours = _rows([(call, call.given, call.made) for call in calls], copies)
    theirs = _rows([(each.call, each.given, each.made) for each in expected], copies)
    numbers: dict[int, int | None] = {}  # of tensors of one sample, those of several
    for one, other in zip(ours, theirs, strict=False):
        writes = copies and not isinstance(one.func, str) and one.func._schema.is_mutable
        same = one.func == other.func and _agree(one.given, other.given, other.call.given, numbers, constant)
        if writes or not same:
            raise _objection(one.call, other.call)
        leaves = (_tensors(tree, kind) for tree, kind in ((one.made, Noted), (other.made, Value)))
        numbers |= {a.number: b.number for a, b in zip(*leaves, strict=True)}
        if not _agree(one.made, other.made, other.call.made, numbers, constant):
            raise _objection(one.call, other.call)
    if len(ours) != len(theirs):
        more = (ours if len(ours) > len(theirs) else theirs)[min(len(ours), len(theirs))].call
        raise _objection(more, more)


def _objection(one: Call, other: Call) -> Objection:
    several = "" if one.name == other.name else f"; for several, {other.name}"
    return Objection(f"computes something else for one sample than for several ({one.name}{several})")


def _rows(calls: Sequence[tuple[Call, Any, Any]], drops: bool) -> list[_Row]:
    """Return calls, if so without copies, whose results are called by the number of what was copied."""
    copied: dict[int, int] = {}

    def original(x: Any) -> Any:
        if isinstance(x, Noted):
            return Noted(copied.get(x.number, x.number), x.shape, x.storage, x.held) if x.number in copied else x
        if isinstance(x, Value):
            return Value(copied[x.number], x.shape, x.storage, x.outer) if x.number in copied else x
        return x

    found: list[_Row] = []
    for call, given, made in calls:
        given = pytree.tree_map(original, given)
        if drops and call.func in _COPIES and given["self"].number is not None:
            copied[made.number] = given["self"].number
        else:
            found.append(_Row(call, _VIEW if call.func in _VIEWS else call.func, given, made))
    return found


def _tensors(tree: Any, kind: type) -> list[Any]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, kind)]


def _agree(given: Any, expected: Any, first: Any, numbers: dict[int, int | None], constant: Any) -> bool:
    """Say whether arguments of one sample are those of several; ``first`` as they were noted of several."""
    if isinstance(expected, Value):
        if not isinstance(given, Noted) or given.shape != tuple([_at(size) for size in expected.shape]):
            return False
        if given.number is None:
            return expected.number is None and constant(given) == first.constant
        return numbers.get(given.number, -1) == expected.number
    if isinstance(expected, dict):
        return all(_agree(given[key], expected[key], first[key], numbers, constant) for key in expected)
    if isinstance(expected, list):
        rows = isinstance(given, list | tuple) and len(given) == len(expected)
        return rows and all(_agree(a, b, c, numbers, constant) for a, b, c in zip(given, expected, first, strict=True))
    return bool(given is expected or given == _at(expected) or given != given)


def _at(size: Any) -> Any:
    return size.k if isinstance(size, Batch) else size
