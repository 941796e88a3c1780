"""The step of SpikingJelly's ElementWiseRecurrentContainer."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from spikingtorch.functional.core.compare import compared_by_type


class CombinedState(NamedTuple):
    """State of ``Combined``: that of the neuron, and y, what it gave out in the step before."""

    neuron: Any
    y: Tensor


@compared_by_type
class Combined(NamedTuple):
    """A step whose input is a function of the last output and of the input: y[t] = step(rule(y[t-1], x[t])).

    Args:
        step: the step, ``(state, x, **params) -> (state, y)``.
        rule: a function of y[t-1] and x[t].

    >>> import torch
    >>> from spikingtorch.functional import IFState, if_step
    >>> state = CombinedState(IFState(v=torch.zeros(1)), y=torch.ones(1))
    >>> Combined(if_step, torch.add)(state, torch.full((1,), 0.5))[1]
    tensor([1.])
    """

    step: Callable[..., tuple[Any, Tensor]]
    rule: Callable[[Tensor, Tensor], Tensor]

    def __call__(self, state: CombinedState, x: Tensor, **params: Any) -> tuple[CombinedState, Tensor]:
        """Advance one step."""
        neuron, out = self.step(state.neuron, self.rule(state.y, x), **params)
        return CombinedState(neuron, out), out

    @property
    def __name__(self) -> str:
        return f"Combined({getattr(self.step, '__name__', type(self.step).__name__)})"
