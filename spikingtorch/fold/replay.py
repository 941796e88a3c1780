"""Replay: trace a network again, for another number of samples.

A network that reads sizes may do something different for many samples than for a few. So it runs with the numbers of
samples of the call, step by step and folded, and must call the same operations. Nothing is computed: the results are
empty tensors.
"""

from collections.abc import Container, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.fold.operations import Batch, Value, merged_size, values_in
from spikingtorch.fold.trace import BATCH_NORM, LAYER, Noted, Objection, Trace, TracedCall, by_name, called, written_by
from spikingtorch.functional.core.torch_private import pytree


class Expected(NamedTuple):
    """A call of both traces: the note of the first trace, and the merged arguments and results."""

    call: TracedCall
    given: Any
    made: Any


class Replay(Trace):
    """A trace that must equal a known trace.

    Args:
        device: of the network.
        taught: names of operations for which the user has given rules.
        expected: the operations.
        N: samples.
    """

    computes = False

    def __init__(self, device: torch.device, taught: Container[str], expected: Sequence[Expected], N: int) -> None:
        super().__init__(device, taught)
        self._expected, self._N = expected, N

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Return an empty result of the expected form."""
        expected = self._next(func)
        if torch.Tag.inplace_view in func.tags:
            return func(*args, **kwargs)
        if func._schema.is_mutable:
            named = by_name(func, args, kwargs)
            tensors = _tensors_in([named[name] for name in written_by(func)])
            return tensors[0] if len(tensors) == 1 else tuple(tensors)
        return self._made(expected)

    def whole(self, func: Any, *args: Any) -> Any:
        """Return an empty tensor of the expected form; it requires a gradient if an argument does."""
        with self.looks_away():
            return _with_gradient_of(_tensors_in(args), super().whole(func, *args))

    def advance(self, layer: Any, inputs: Any) -> Any:  # noqa: ARG002
        """Return empty outputs of the expected form."""
        return self._made(self._next(LAYER, after=1))

    def normalise(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:  # noqa: ARG002
        """Return an empty tensor of the expected form that requires a gradient."""
        return _with_gradient_of([x], self._made(self._next(BATCH_NORM)))

    def _next(self, func: Any, after: int = 0) -> Expected:
        place = len(self.calls) + after
        expected = self._expected[place] if place < len(self._expected) else None
        if expected is None or expected.call.func != func:
            raise Objection(f"computes something else for {self._N} samples than for a few ({called(func)})")
        return expected

    def check(self) -> None:
        """Raise unless all expected calls were made."""
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
        """Return tensors of the expected sizes and strides; memory that is never written costs nothing."""
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
    """Return ``made``, with a gradient if one of the tensors has one; its values are meaningless."""
    needed = [tensor.sum().to(made.dtype) for tensor in tensors if tensor.requires_grad]
    return made.add_(sum(needed)) if needed else made
