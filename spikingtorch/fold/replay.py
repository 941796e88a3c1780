"""Replay: the trace of a network once more, for a number of samples that it was not traced for.

Where a network asks for sizes, it may do something else for many samples than for a few. It is run for the numbers of a
call, step by step and folded, and has to ask for the same operations. Nothing is computed: what comes out is empty.
"""

from collections.abc import Container, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.fold.operations import Batch, Value, merged_size, values_in
from spikingtorch.fold.trace import BATCH_NORM, LAYER, Noted, Objection, Trace, TracedCall, by_name, called, written_by
from spikingtorch.functional.core.torch_private import pytree


class Expected(NamedTuple):
    """A call of both traces: as it was noted in the first, its arguments in both, and what came out."""

    call: TracedCall
    given: Any
    made: Any


class Replay(Trace):
    """A trace that has to be the one that is known.

    Args:
        device: of the network.
        taught: names of operations that the user knows.
        expected: the operations.
        N: samples.
    """

    computes = False

    def __init__(self, device: torch.device, taught: Container[str], expected: Sequence[Expected], N: int) -> None:
        super().__init__(device, taught)
        self._expected, self._N = expected, N

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Return something of the right form."""
        expected = self._next(func)
        if torch.Tag.inplace_view in func.tags:
            return func(*args, **kwargs)
        if func._schema.is_mutable:
            named = by_name(func, args, kwargs)
            tensors = _tensors_in([named[name] for name in written_by(func)])
            return tensors[0] if len(tensors) == 1 else tuple(tensors)
        return self._made(expected)

    def whole(self, func: Any, *args: Any) -> Any:
        """Return a tensor of the right form, which has a gradient if an argument has one, as its parts would give."""
        with self.looks_away():
            return _with_gradient_of(_tensors_in(args), super().whole(func, *args))

    def advance(self, layer: Any, inputs: Any) -> Any:  # noqa: ARG002
        """Return outputs of the right form."""
        return self._made(self._next(LAYER, after=1))

    def normalise(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:  # noqa: ARG002
        """Return a tensor of the right form, which has a gradient."""
        return _with_gradient_of([x], self._made(self._next(BATCH_NORM)))

    def _next(self, func: Any, after: int = 0) -> Expected:
        place = len(self.calls) + after
        expected = self._expected[place] if place < len(self._expected) else None
        if expected is None or expected.call.func != func:
            raise Objection(f"computes something else for {self._N} samples than for a few ({called(func)})")
        return expected

    def check(self) -> None:
        """Raise unless all was as expected."""
        calls = zip(self.calls, self._expected, strict=False)
        wrong = [call for call, expected in calls if not self._is(call, expected)]
        if wrong or len(self.calls) != len(self._expected):
            where = f" ({wrong[0].name})" if wrong else ""
            raise Objection(f"computes something else for {self._N} samples than for a few{where}")

    def _is(self, call: TracedCall, expected: Expected) -> bool:
        return (
            (call.func, call.records) == (expected.call.func, expected.call.records)
            and self._agree(call.given, expected.given)
            and self._agree(call.made, expected.made)
        )

    def _made(self, expected: Expected) -> Any:
        """Return tensors of the sizes and strides that were expected; memory that nobody writes on costs none."""
        values = iter(values_in(expected.made))

        def make(one: Any) -> Any:
            if not isinstance(one, Noted):
                return one
            value = next(values)
            shape = [self._at(size) for size in value.shape]
            strides = [self._at(merged_size(a, b)) for a, b in value.strides]
            return torch.empty_strided(shape, strides, dtype=one.dtype, device=self.device)

        return pytree.tree_map(make, expected.call.made)

    def _at(self, size: Any) -> Any:
        return size.k * self._N if isinstance(size, Batch) else size

    def _agree(self, given: Any, expected: Any) -> bool:
        if isinstance(expected, Value):
            form = expected.number, tuple([self._at(size) for size in expected.shape]), expected.constant
            return isinstance(given, Noted) and (given.number, given.shape, given.constant) == form
        if isinstance(expected, dict):
            return all(self._agree(given[key], expected[key]) for key in expected)
        if isinstance(expected, list):
            return (
                isinstance(given, list | tuple)
                and len(given) == len(expected)
                and all(map(self._agree, given, expected))
            )
        return bool(given is expected or given == self._at(expected) or given != given)


def _tensors_in(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def _with_gradient_of(tensors: Sequence[Tensor], made: Tensor) -> Tensor:
    """Return a tensor of the same form that has a gradient if one of some tensors has; what it holds is nothing."""
    needed = [tensor.sum().to(made.dtype) for tensor in tensors if tensor.requires_grad]
    return made.add_(sum(needed)) if needed else made
