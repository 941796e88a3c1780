"""The computation of a trace, as a graph of values.

A copy has the value of its source, and a view of a view is a view of the source. Equal operations on equal values make
one value. A sum with a bias is a view of the sum with the tensor under the view. If a tensor is written on, all tensors
in its memory get new values.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch

from spikingtorch.fold.operations import Batch, Value
from spikingtorch.fold.trace import Noted, Objection, TracedCall, written_by
from spikingtorch.functional.core.torch_private import pytree

_ATEN = torch.ops.aten
_CLONE, _VIEW, _ADD = _ATEN.clone.default, _ATEN.view.default, _ATEN.add.Tensor
_ADDMM, _MM = _ATEN.addmm.default, _ATEN.mm.default
_VIEWS = (_VIEW, _ATEN._unsafe_view.default)
_WITHOUT_GRADIENT = "without gradient"
_OVERLAPPING = {"expand", "as_strided", "unfold"}
_Tensor: TypeAlias = Noted | Value


class _Ref(NamedTuple):
    """A value in a key."""

    number: int


class Seen(NamedTuple):
    """An effect of a trace that is visible from outside: a layer, random numbers, an output."""

    call: TracedCall
    key: Any


def _differs(one: TracedCall, other: TracedCall) -> Objection:
    """Return the objection to one sample that is computed differently from several samples."""
    several = "" if one.name == other.name else f"; for several, {other.name}"
    return Objection(f"computes something else for one sample than for several ({one.name}{several})")


def check_single(calls: Sequence[TracedCall], several: Sequence[TracedCall]) -> None:
    """Raise unless the trace of one sample computes the same as the trace of several samples.

    A tensor of one sample can be contiguous where a tensor of several samples is not, so torch calls other operations.
    For one sample, ``reshape`` is a view instead of a copy and a view, and ``x @ w.T + b`` is one operation instead of
    two. So two traces are compared by their values.

    Args:
        calls: the trace of one sample.
        several: the traces of several samples, merged.

    Raises:
        Objection: it computes something else.
    """
    values = Values()
    theirs, ours = Graph(values, several).seen, Graph(values, calls).seen
    for one, other in zip(ours, theirs, strict=False):
        if one.key != other.key:
            mine, others = values.behind(one.key), values.behind(other.key)
            raise _differs(values.first(mine - others, one.call), values.first(others - mine, other.call))
    if len(ours) != len(theirs):
        call = max(ours, theirs, key=len)[min(len(ours), len(theirs))].call
        raise _differs(call, call)


class Values:
    """The values of both traces.

    Attributes:
        keys: how each value is computed: an operation, and its arguments.
        shapes: of one sample.
    """

    def __init__(self) -> None:
        self.keys: list[Any] = []
        self.shapes: list[tuple[int, ...]] = []
        self._made_by: list[TracedCall] = []
        self._known: dict[Any, int] = {}

    def value(self, key: Any, shape: tuple[int, ...], call: TracedCall) -> _Ref:
        """Return the value of a computation."""
        if key not in self._known:
            self._known[key] = len(self.keys)
            self.keys.append(key)
            self.shapes.append(shape)
            self._made_by.append(call)
        return _Ref(self._known[key])

    def view(self, x: _Ref, shape: tuple[int, ...], call: TracedCall) -> _Ref:
        """Return a view of a value, or of the source of a view; the value itself if it has this shape."""
        x = self._viewed(x)
        return x if self.shapes[x.number] == shape else self.value((_VIEW, x), shape, call)

    def biased(self, x: _Ref, bias: _Ref, shape: tuple[int, ...], call: TracedCall) -> _Ref | None:
        """Return x + bias as a view of the sum with the source of x; None if they are not rows and one row."""
        source = self._viewed(x)
        row = self.shapes[bias.number]
        if len(row) != 1 or any(self.shapes[each.number][-1:] != row for each in (x, source)):
            return None
        return self.view(self.value((_ADD, source, bias), self.shapes[source.number], call), shape, call)

    def without_gradient(self, x: _Ref, call: TracedCall) -> _Ref:
        """Return the value of a computation without gradients."""
        if self.keys[x.number][0] == _WITHOUT_GRADIENT:
            return x
        return self.value((_WITHOUT_GRADIENT, x), self.shapes[x.number], call)

    def behind(self, key: Any) -> set[int]:
        """Return all values that an effect is computed from."""
        found: set[int] = set()
        ahead = [key]
        while ahead:
            part = ahead.pop()
            if isinstance(part, _Ref):
                if part.number not in found:
                    found.add(part.number)
                    ahead.append(self.keys[part.number])
            elif isinstance(part, tuple):
                ahead += part
        return found

    def first(self, numbers: set[int], default: TracedCall) -> TracedCall:
        """Return the call that made the first of some values."""
        return self._made_by[min(numbers)] if numbers else default

    def _viewed(self, x: _Ref) -> _Ref:
        func, *given = self.keys[x.number]
        return given[0] if func == _VIEW else x


class Graph:
    """What a trace computes.

    Args:
        values: those of both traces.
        calls: the trace.

    Attributes:
        seen: its visible effects, in order.

    Raises:
        Objection: it writes on a tensor whose entries share memory.
    """

    def __init__(self, values: Values, calls: Sequence[TracedCall]) -> None:
        self.seen: list[Seen] = []
        self._values = values
        self._now: dict[int, _Ref] = {}  # the value of each tensor
        self._memory: dict[int, set[int]] = {}  # the tensors in each
        self._overlaps: set[int] = set()  # memory memory in which one entry stands for several entries of a tensor
        self._records = calls[0].records
        for call in calls:
            self._add(call)

    def _add(self, call: TracedCall) -> None:
        func, key = call.func, self._frozen(call.given, call)
        outs, written = _tensors_in(call.made), _written(call)
        before = [None if x.number is None else self._now.get(x.number) for x in written]
        shapes = [_shape(x) for x in (*written, *outs)]
        if isinstance(func, str) or torch.Tag.nondeterministic_seeded in func.tags:
            self.seen.append(Seen(call, (func, call.records, key)))
            found = [self._values.value((len(self.seen), i), shape, call) for i, shape in enumerate(shapes)]
        else:
            found = self._computed(func, dict(key), shapes, call)
        if call.records != self._records:
            found = [self._values.without_gradient(each, call) for each in found]
        self._set(outs, found[len(written) :])
        for x, old, new in zip(written, before, found, strict=False):
            self._write(x, old, new, call)
        if not isinstance(func, str) and func._opname in _OVERLAPPING:
            self._overlaps |= {x.storage for x in outs}

    def _computed(
        self, func: Any, given: dict[str, Any], shapes: list[tuple[int, ...]], call: TracedCall
    ) -> list[_Ref]:
        """Return the values of the results of an operation."""
        values = self._values
        if func == _CLONE:
            return [given["self"]]
        if func in _VIEWS:
            return [values.view(given["self"], shapes[0], call)]
        x = bias = None
        if func == _ADD and given["alpha"] == _ONE and isinstance(given["other"], _Ref):
            x, bias = given["self"], given["other"]
        elif func == _ADDMM and given["alpha"] == given["beta"] == _ONE:
            product = (_MM, given["mat1"], given["mat2"])
            x, bias = values.value(product, shapes[0], call), given["self"]
        elif func == _MM:
            return [values.value((_MM, given["self"], given["mat2"]), shapes[0], call)]
        sums = None if x is None or bias is None else values.biased(x, bias, shapes[0], call)
        if sums is not None:
            return [sums]
        return [values.value((func, *given.items(), i), shape, call) for i, shape in enumerate(shapes)]

    def _write(self, x: _Tensor, old: _Ref | None, new: _Ref, call: TracedCall) -> None:
        """Note a new value for a tensor, and new values for the tensors that share its memory."""
        if x.number is None or old is None or x.storage in self._overlaps:
            raise _differs(call, call)
        for other in self._memory[x.storage]:
            was = self._now[other]
            after = ("where another was written on", was, old, new)
            self._now[other] = self._values.value(after, self._values.shapes[was.number], call)
        self._now[x.number] = new

    def _set(self, tensors: Iterable[_Tensor], values: Iterable[_Ref]) -> None:
        for x, value in zip(tensors, values, strict=True):
            if x.number is not None:
                self._now[x.number] = value
                self._memory.setdefault(x.storage, set()).add(x.number)

    def _frozen(self, tree: Any, call: TracedCall) -> Any:
        """Return arguments as part of a key."""
        if isinstance(tree, Noted | Value):
            if tree.number is not None:
                return self._now[tree.number]
            return self._values.value(("a constant", tree.constant), _shape(tree), call)
        if isinstance(tree, dict):
            return tuple([(name, self._frozen(each, call)) for name, each in tree.items()])
        if isinstance(tree, list | tuple):
            return "a list", *[self._frozen(each, call) for each in tree]
        return _plain(tree)


def _plain(x: Any) -> Any:
    """Return a number or another object as part of a key: 1, 1.0 and True differ, and nan equals nan."""
    x = x.k if isinstance(x, Batch) else x
    if isinstance(x, int | float | complex):
        return type(x).__name__, repr(x)
    return x if isinstance(x, str | torch.dtype | torch.device | None) else (type(x), id(x))


_ONE = _plain(1)


def _written(call: TracedCall) -> list[_Tensor]:
    """Return the tensors that an operation writes on."""
    if isinstance(call.func, str) or torch.Tag.inplace_view in call.func.tags:
        return []
    return _tensors_in([call.given[name] for name in written_by(call.func)])


def _tensors_in(tree: Any) -> list[Any]:
    """Return the tensors of arguments or results."""
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Noted | Value)]


def _shape(x: _Tensor) -> tuple[int, ...]:
    return tuple([size.k if isinstance(size, Batch) else size for size in x.shape])
