"""The computation of a trace, as a graph of values.

A copy has the value of its source, and a view of a view is a view of the source. Equal operations on equal values make
one value. A sum with a bias is a view of the sum with the tensor under the view. If a tensor is written on, all tensors
in its memory get new values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from spikingtorch.fold.trace import Objection, TracedCall, TracedTensor, noted_in, written_by

_ATEN = torch.ops.aten
_CLONE, _VIEW, _ADD = _ATEN.clone.default, _ATEN.view.default, _ATEN.add.Tensor
_ADDMM, _MM = _ATEN.addmm.default, _ATEN.mm.default
_VIEWS = (_VIEW, _ATEN._unsafe_view.default)
_WITHOUT_GRADIENT = "without gradient"
_OVERLAPPING = {"expand", "as_strided", "unfold"}


@dataclass(frozen=True, slots=True, eq=False)
class _Value:
    """A value of both traces: one object for each key."""

    key: Any  # how it is computed: an operation, and its arguments
    shape: tuple[int, ...]
    call: TracedCall  # that made it first
    place: int  # among all values

    @property
    def source(self) -> "_Value":
        """The value under a view; any other value itself."""
        source: _Value = self.key[1] if self.key[0] == _VIEW else self
        return source


def _differs(one: TracedCall, other: TracedCall) -> Objection:
    """Return the objection to one sample that is computed differently from several samples."""
    several = "" if one.name == other.name else f"; for several, {other.name}"
    return Objection(f"computes something else for one sample than for several ({one.name}{several})")


def check_single(calls: Sequence[TracedCall], several: Sequence[TracedCall]) -> None:
    """Raise unless the trace of one sample computes the same as the trace of several samples.

    A tensor of one sample can be contiguous where a tensor of several samples is not, so torch calls other operations.
    For one sample, ``reshape`` is a view instead of a copy and a view, and ``x @ w.T + b`` is one operation instead of
    two. So two traces are compared by their values. That of several samples has the sizes that it would have for one.
    """
    known: dict[Any, _Value] = {}
    theirs, ours = Graph(known, several).seen, Graph(known, calls).seen
    for (call, key), (other, other_key) in zip(ours, theirs, strict=False):
        if key != other_key:
            mine, others = _behind(key), _behind(other_key)
            raise _differs(_first(mine - others, call), _first(others - mine, other))
    if len(ours) != len(theirs):
        call, _ = max(ours, theirs, key=len)[min(len(ours), len(theirs))]
        raise _differs(call, call)


def _behind(key: Any) -> set[_Value]:
    """Return all values that an effect is computed from."""
    found: set[_Value] = set()
    ahead = [key]
    while ahead:
        part = ahead.pop()
        if isinstance(part, tuple):
            ahead += part
        elif isinstance(part, _Value) and part not in found:
            found.add(part)
            ahead.append(part.key)
    return found


def _first(values: set[_Value], default: TracedCall) -> TracedCall:
    """Return the call that made the first of some values."""
    return min(values, key=lambda value: value.place).call if values else default


class Graph:
    """What a trace computes; raises an objection to a write on a tensor whose entries share memory."""

    def __init__(self, known: dict[Any, _Value], calls: Sequence[TracedCall]) -> None:
        # its effects that are visible from outside, such as layers, random numbers and outputs, with their keys
        self.seen: list[tuple[TracedCall, Any]] = []
        self._known = known  # the values of both traces, by key
        self._now: dict[int | None, _Value] = {}  # the value of each tensor
        self._memory: dict[int, set[int]] = {}  # the tensors in each
        self._overlaps: set[int] = set()  # memory in which one entry stands for several entries of a tensor
        for call in calls:
            self._call = call
            self._add(call.func, calls[0].records)

    def _add(self, func: Any, records: bool) -> None:
        """Add the running call; ``records`` says whether the trace began with gradients."""
        call, key = self._call, self._frozen(self._call.given)
        outs, writes = noted_in(call.made), not isinstance(func, str) and torch.Tag.inplace_view not in func.tags
        written = noted_in([call.given[name] for name in written_by(func)]) if writes else []
        before = [self._now.get(x.number) for x in written]
        shapes = [x.shape for x in (*written, *outs)]
        if isinstance(func, str) or torch.Tag.nondeterministic_seeded in func.tags:
            self.seen.append((call, (func, call.records, key)))
            found = [self._value((len(self.seen), i), shape) for i, shape in enumerate(shapes)]
        else:
            found = self._computed(func, dict(key), shapes)
        if call.records != records:
            cut = _WITHOUT_GRADIENT
            found = [each if each.key[0] == cut else self._value((cut, each), each.shape) for each in found]
        for x, value in zip(outs, found[len(written) :], strict=True):
            if x.number is not None:
                self._now[x.number] = value
                self._memory.setdefault(x.storage, set()).add(x.number)
        for x, old, new in zip(written, before, found, strict=False):
            self._write(x, old, new)
        if not isinstance(func, str) and func._opname in _OVERLAPPING:
            self._overlaps |= {x.storage for x in outs}

    def _value(self, key: Any, shape: tuple[int, ...]) -> _Value:
        """Return the value of a computation."""
        if key not in self._known:
            self._known[key] = _Value(key, shape, self._call, len(self._known))
        return self._known[key]

    def _view(self, x: _Value, shape: tuple[int, ...]) -> _Value:
        """Return a view of a value, or of the source of a view; the value itself if it has this shape."""
        return x.source if x.source.shape == shape else self._value((_VIEW, x.source), shape)

    def _computed(self, func: Any, given: dict[str, Any], shapes: list[tuple[int, ...]]) -> list[_Value]:
        """Return the values of the results of an operation."""
        if func == _CLONE:
            return [given["self"]]
        if func in _VIEWS:
            return [self._view(given["self"], shapes[0])]
        x: Any = None
        bias: Any = None
        if func == _ADD and given["alpha"] == _ONE and isinstance(given["other"], _Value):
            x, bias = given["self"], given["other"]
        elif func == _ADDMM and given["alpha"] == given["beta"] == _ONE:
            x, bias = self._value((_MM, given["mat1"], given["mat2"]), shapes[0]), given["self"]
        elif func == _MM:
            return [self._value((_MM, given["self"], given["mat2"]), shapes[0])]
        if x is not None and len(bias.shape) == 1 and x.shape[-1:] == x.source.shape[-1:] == bias.shape:
            # rows and one row: a view of the sum with the source of x
            return [self._view(self._value((_ADD, x.source, bias), x.source.shape), shapes[0])]
        return [self._value((func, *given.items(), i), shape) for i, shape in enumerate(shapes)]

    def _write(self, x: TracedTensor, old: _Value | None, new: _Value) -> None:
        """Note a new value for a tensor, and new values for the tensors that share its memory."""
        if x.number is None or old is None or x.storage in self._overlaps:
            raise _differs(self._call, self._call)
        for other in self._memory[x.storage]:
            was = self._now[other]
            self._now[other] = self._value(("where another was written on", was, old, new), was.shape)
        self._now[x.number] = new

    def _frozen(self, tree: Any) -> Any:
        """Return arguments as part of a key."""
        if isinstance(tree, TracedTensor):
            fixed = tree.number is None
            return self._value(("a constant", tree.constant), tree.shape) if fixed else self._now[tree.number]
        if isinstance(tree, dict):
            return tuple([(name, self._frozen(each)) for name, each in tree.items()])
        if isinstance(tree, list | tuple):
            return "a list", *[self._frozen(each) for each in tree]
        return _plain(tree)


def _plain(x: Any) -> Any:
    """Return a number or another object as part of a key: 1, 1.0 and True differ, and nan equals nan."""
    if isinstance(x, int | float | complex):
        return type(x).__name__, repr(x)
    return x if isinstance(x, str | torch.dtype | torch.device | None) else (type(x), id(x))


_ONE = _plain(1)
