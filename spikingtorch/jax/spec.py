"""What the primitives of a scan know about it, apart from its numbers."""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np

from spikingtorch.functional.core.shapes import broadcast, with_time
from spikingtorch.functional.fused.ir import Program
from spikingtorch.jax.handler import CHUNK
from spikingtorch.jax.lower import NAMES
from spikingtorch.jax.trace import Traced, is_floating

_DTYPES = {short: name for name, short in NAMES.items()}


class ScanSpec:
    """A scan of a step for arrays of one form: ``neurons`` of a shape, time at axis ``dim`` of a stream.

    The operands of the primitives are states, inputs and parameters, the arrays that a step closes over among them. An
    array without time has the shape that the step sees, and a stream has time in addition. Before these axes, each
    operand has ``batch`` axes of ``jax.vmap``, of length one where it is not mapped. ``scalars`` are the numbers of the
    step's code.
    """

    def __init__(
        self,
        step: Traced,
        program: Program,
        scalars: tuple[float, ...],
        neurons: tuple[int, ...],
        dim: int,
        steps: int,
        batch: int = 0,
    ) -> None:
        self.step, self.program, self.scalars, self.neurons = step, program, scalars, neurons
        self.dim, self.steps, self.batch = dim, steps, batch

    # A program says all that a result depends on: a scan of the same step that was traced again runs what XLA has
    # compiled. Derivatives of other orders come from the step itself, which the spec of the call holds.
    @cached_property
    def _key(self) -> tuple[Any, ...]:
        shapes = tuple(t.shape for t in self.step.types)
        return self.text, repr(self.scalars), shapes, self.neurons, self.dim, self.steps, self.batch

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScanSpec) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"ScanSpec(neurons={self.neurons}, dim={self.dim}, steps={self.steps}, batch={self.batch})"

    @cached_property
    def text(self) -> str:
        """The program, as text."""
        return self.program.to_text()

    def batched(self) -> "ScanSpec":
        """Return the scan with one more axis of ``jax.vmap`` in front."""
        parts = self.step, self.program, self.scalars, self.neurons, self.dim, self.steps
        return ScanSpec(*parts, self.batch + 1)

    @property
    def states(self) -> int:
        """The number of states."""
        return self.step.states

    @property
    def streams(self) -> range:
        """The numbers of the inputs among the operands."""
        return range(self.step.states, self.step.states + self.step.xs)

    @cached_property
    def floats(self) -> tuple[int, ...]:
        """The numbers of the operands that have gradients."""
        return tuple(k for k, t in enumerate(self.step.types) if is_floating(t))

    @cached_property
    def float_results(self) -> tuple[int, ...]:
        """The numbers of the final states and outputs that have gradients."""
        return tuple(k for k, t in enumerate(self.step.results) if is_floating(t))

    @cached_property
    def out_dtypes(self) -> tuple[Any, ...]:
        """The dtypes of the outputs in memory."""
        return tuple(np.dtype(jnp.dtype(_DTYPES[name])) for name in self.program.outs)

    @property
    def kept_steps(self) -> int:
        """The number of states that a forward pass keeps for the backward pass."""
        return (self.steps + CHUNK - 1) // CHUNK - 1

    def batch_of(self, operands: Sequence[Any]) -> tuple[int, ...]:
        """Return the lengths of the axes of ``jax.vmap``."""
        return broadcast([x.shape[: self.batch] for x in operands]) if self.batch else ()

    def over_time(self, steps: int) -> tuple[int, ...]:
        """Return the shape of a stream of all neurons."""
        return with_time(self.neurons, self.dim, steps)

    def results(self, batch: tuple[int, ...], *, keep: bool) -> list[tuple[tuple[int, ...], Any]]:
        """Return the shapes and dtypes of final states, outputs and, with ``keep``, kept states."""
        states, outs = [t.dtype for t in self.step.types[: self.states]], self.out_dtypes
        one, stream = (*batch, *self.neurons), (*batch, *self.over_time(self.steps))
        kept = [((*batch, *self.over_time(self.kept_steps)), dtype) for dtype in states] if keep else []
        return [*((one, dtype) for dtype in states), *((stream, dtype) for dtype in outs), *kept]

    def shape_of(self, k: int, batch: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of an operand, or of its gradient, with all axes of ``jax.vmap`` at their length."""
        own = self.step.types[k].shape
        return (*batch, *(with_time(own, self.dim, self.steps) if k in self.streams else own))

    @property
    def size(self) -> int:
        """The number of neurons times that of steps."""
        return math.prod(self.neurons) * self.steps
