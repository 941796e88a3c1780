"""What a fused scan is, whatever the size and the layout of its tensors."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from torch import Tensor

# how many states, inputs, parameters and outputs a program has; a plain tuple, which torch.compile takes apart
Counts: TypeAlias = tuple[int, int, int, int]
# for each final state and each output, on which states, inputs and parameters autograd sees it depend
Depends: TypeAlias = Sequence[tuple[bool, ...]]


class ScanSpec(NamedTuple):
    """A scan of a program, for tensors of any size; a plain tuple, which torch.compile takes for a constant.

    Attributes:
        program: the program, as text.
        dim: axis of time in the inputs, which all have the axes of the neurons.
        saves_states: whether the gradient of the program needs the states.
        differentiable: for each state, input and parameter, whether the program has a gradient of it.
        counts: how many tensors of each kind there are.
        fold: N samples and T steps, if these are one axis of inputs and outputs, (N T, ...). Such a scan starts at
            rest: it is given no states, and those after the last step have no gradient.
        depends: for each final state and each output, on which states, inputs and parameters autograd sees it depend.
    """

    program: str
    dim: int
    saves_states: bool
    differentiable: tuple[bool, ...]
    counts: Counts
    fold: tuple[int, int] | None = None
    depends: tuple[tuple[bool, ...], ...] = ()

    @property
    def given_states(self) -> int:
        """How many states are given."""
        return 0 if self.fold else self.counts[0]

    @property
    def differentiable_of_given(self) -> tuple[bool, ...]:
        """For each tensor that is given, whether the program has a gradient of it."""
        return self.differentiable[self.counts[0] :] if self.fold else self.differentiable

    def without_gradient(self, results: Sequence[Tensor], needed: Sequence[bool]) -> list[Tensor]:
        """Return the results that have no gradient where these of the tensors that are given require one."""
        first = self.counts[0] if self.fold else 0
        return without_gradient(results, [row[first:] for row in self.depends[first:]], needed)


def without_gradient(results: Sequence[Tensor], depends: Depends, needed: Sequence[bool]) -> list[Tensor]:
    """Return the results that depend on no tensor which requires a gradient."""
    return [
        result
        for result, row in zip(results, depends, strict=True)
        if not any([has and need for has, need in zip(row, needed, strict=True)])
    ]
