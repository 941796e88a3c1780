"""Describe a fused scan independently of the size and the layout of its tensors."""

from collections.abc import Sequence
from operator import and_
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

# the numbers of states, inputs, parameters and outputs of a program; a plain tuple, because torch.compile unpacks it
Counts: TypeAlias = tuple[int, int, int, int]
# for each final state and each output: the states, inputs and parameters on which it depends for autograd
Depends: TypeAlias = tuple[tuple[bool, ...], ...]


class ScanSpec(NamedTuple):
    """A scan of a program, for tensors of any size; a plain tuple, so that torch.compile takes it as a constant."""

    program: str  # the program, as text
    dim: int  # axis of time in the inputs, which have all axes of the neurons
    saves_states: bool  # whether the gradient of the program needs the states
    differentiable: tuple[bool, ...]  # for each state, input and parameter, whether the program has a gradient of it
    counts: Counts  # the number of tensors of each kind
    # N samples and T steps, if these are one axis of inputs and outputs, (N T, ...). The first and the last states of
    # such a scan have no gradient.
    fold: tuple[int, int] | None = None
    # for each final state and each output: the states, inputs and parameters on which it depends for autograd
    depends: Depends = ()
    goes_on: bool = False  # whether a scan with ``fold`` gets its first states. Otherwise it starts at rest.

    @property
    def given_states(self) -> int:
        """The number of given states."""
        return 0 if self.fold and not self.goes_on else self.counts[0]

    @property
    def differentiable_of_given(self) -> tuple[bool, ...]:
        """For each given tensor, whether the program has a gradient of it."""
        return self.differentiable[self.counts[0] :] if self.fold else self.differentiable

    def without_gradient(self, needed: tuple[bool, ...]) -> tuple[int, ...]:
        """Return which results have no gradient if these given tensors require one."""
        rows = enumerate(self._depends_of_given)
        return tuple([k for k, row in rows if not any(map(and_, row, needed))])

    def reached(self, coming: Sequence[bool]) -> tuple[bool, ...]:
        """Return which given tensors influence a result that has an incoming gradient."""
        rows = [row for row, comes in zip(self._depends_of_given, coming, strict=True) if comes]
        return tuple(map(any, zip(*rows, strict=True)))

    @property
    def _depends_of_given(self) -> Depends:
        """``depends`` without the states, if these are neither given nor results."""
        first = self.counts[0] if self.fold else 0
        return tuple([row[first:] for row in self.depends[first:]])


def with_zeros(
    grads: Sequence[Tensor | None], needed: Sequence[bool], reached: Sequence[bool], tensors: Sequence[Tensor]
) -> list[Tensor | None]:
    """Return gradients with zeros where a program has none although, for autograd, a result depends on the tensor."""
    whole = zip(grads, needed, reached, tensors, strict=False)
    return [torch.zeros_like(t) if grad is None and need and on else grad for grad, need, on, t in whole]
