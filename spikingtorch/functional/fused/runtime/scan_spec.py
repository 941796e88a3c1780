"""What a fused scan is, whatever the size and the layout of its tensors."""

from collections.abc import Sequence
from operator import and_
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

# how many states, inputs, parameters and outputs a program has; a plain tuple, which torch.compile takes apart
Counts: TypeAlias = tuple[int, int, int, int]
# for each final state and each output, on which states, inputs and parameters autograd sees it depend
Depends: TypeAlias = tuple[tuple[bool, ...], ...]


class ScanSpec(NamedTuple):
    """A scan of a program, for tensors of any size; a plain tuple, which torch.compile takes for a constant.

    Attributes:
        program: the program, as text.
        dim: axis of time in the inputs, which all have the axes of the neurons.
        saves_states: whether the gradient of the program needs the states.
        differentiable: for each state, input and parameter, whether the program has a gradient of it.
        counts: how many tensors of each kind there are.
        fold: N samples and T steps, if these are one axis of inputs and outputs, (N T, ...). The states of such a scan
            have no gradient, neither the first nor the last ones.
        depends: for each final state and each output, on which states, inputs and parameters autograd sees it depend.
        goes_on: whether a scan with ``fold`` is given its first states. Otherwise it starts at rest.
    """

    program: str
    dim: int
    saves_states: bool
    differentiable: tuple[bool, ...]
    counts: Counts
    fold: tuple[int, int] | None = None
    depends: Depends = ()
    goes_on: bool = False

    @property
    def given_states(self) -> int:
        """How many states are given."""
        return 0 if self.fold and not self.goes_on else self.counts[0]

    @property
    def differentiable_of_given(self) -> tuple[bool, ...]:
        """For each tensor that is given, whether the program has a gradient of it."""
        return self.differentiable[self.counts[0] :] if self.fold else self.differentiable

    def without_gradient(self, needed: tuple[bool, ...]) -> tuple[int, ...]:
        """Return which results have no gradient where these of the tensors that are given require one."""
        rows = enumerate(self._depends_of_given)
        return tuple([k for k, row in rows if not any(map(and_, row, needed))])

    def reached(self, coming: Sequence[bool]) -> tuple[bool, ...]:
        """Return on which of the tensors that are given those of the results depend that have a gradient coming in."""
        rows = [row for row, comes in zip(self._depends_of_given, coming, strict=True) if comes]
        return tuple(map(any, zip(*rows, strict=True)))

    @property
    def _depends_of_given(self) -> Depends:
        """``depends`` without the states, if these are neither given nor among the results."""
        first = self.counts[0] if self.fold else 0
        return tuple([row[first:] for row in self.depends[first:]])


def with_zeros(
    grads: Sequence[Tensor | None], needed: Sequence[bool], reached: Sequence[bool], tensors: Sequence[Tensor]
) -> list[Tensor | None]:
    """Return gradients with zeros where a program has none, though autograd sees a result depend on the tensor."""
    whole = zip(grads, needed, reached, tensors, strict=False)
    return [torch.zeros_like(t) if grad is None and need and on else grad for grad, need, on, t in whole]
