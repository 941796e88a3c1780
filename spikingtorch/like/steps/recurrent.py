"""The bias of recurrent weights, as part of the step of a neuron."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core.compare import compared_by_type
from spikingtorch.functional.core.precision import lift
from spikingtorch.functional.state import inner_rest


@compared_by_type
class Shifted(NamedTuple):
    """A step with a bias on its input: state[t], out[t] = step(state[t-1], x[t] + bias).

    Args:
        step: the step, ``(state, x, **params) -> (state, out)``.

    >>> from spikingtorch.functional import IFState, if_step
    >>> Shifted(if_step)(IFState(v=torch.zeros(1)), torch.zeros(1), bias=0.5)[0].v
    tensor([0.5000])
    """

    step: Callable[..., tuple[Any, Any]]

    def __call__(self, state: Any, x: Tensor, *, bias: Tensor | float, **params: Any) -> tuple[Any, Any]:
        """Advance one step; the bias is broadcastable to x."""
        return self.step(state, x + bias, **params)


class LaterState(NamedTuple):
    """State of ``ShiftedLater``: the state of the neuron, and on, which is 0 before the first step and 1 after it."""

    neuron: Any
    on: Tensor


@compared_by_type
class ShiftedLater(NamedTuple):
    """A step with a bias on its input from the second step on, like a feedback that starts after the first.

        state[t], out[t] = step(state[t-1], x[t] + on[t-1] bias),  on[t] = 1

    Args:
        step: the step, ``(state, x, **params) -> (state, out)``.
    """

    step: Callable[..., tuple[Any, Any]]

    def __call__(self, state: LaterState, x: Tensor, *, bias: Tensor | float, **params: Any) -> tuple[LaterState, Any]:
        """Advance one step; the bias is broadcastable to x."""
        neuron, out = self.step(state.neuron, x + state.on * bias, **params)
        return LaterState(neuron, torch.ones_like(state.on)), out

    def at_rest(self, neuron: Any, like: Tensor) -> LaterState:
        """Return the state at rest, from the state of the neuron."""
        return LaterState(inner_rest(self.step, neuron, like), lift(torch.zeros_like(like, requires_grad=False)))
