"""Refractory periods around the step of any neuron: absolute and relative."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core.contract import check_kind
from spikingtorch.functional.core.names import step_name
from spikingtorch.functional.core.precision import lift
from spikingtorch.functional.core.tree import tree_map
from spikingtorch.functional.firing import rests
from spikingtorch.functional.state import inner_rest


def _zeros(like: Tensor) -> Tensor:
    return lift(torch.zeros_like(like, requires_grad=False))


def _check_spikes(step: Any, out: Any) -> None:
    if not isinstance(out, Tensor):
        raise TypeError(
            f"{step_name(step)}: the step inside returns a {type(out).__name__}, expected a tensor of spikes, "
            "which start a rest"
        )


class RefractoryState(NamedTuple):
    """State of ``Refractory``: the state of the neuron, and left, the number of steps that it still rests."""

    neuron: Any
    left: Tensor


class Refractory(NamedTuple):
    """The step of a neuron that rests for some steps after each of its spikes.

        out[t], state[t] = 0, state[t-1]                where left[t-1] > 0
                         = step(state[t-1], x[t])       elsewhere
        left[t]          = left[t-1] - 1                where left[t-1] > 0
                         = steps                        where out[t] is not 0
                         = 0                            elsewhere

    A resting neuron takes no input, and its state does not change.

    Args:
        step: the step of the neuron, ``(state, x, **params) -> (state, out)``, whose output is a tensor.
        steps: length of the rest, in steps; the parameter ``refractory`` of a call replaces it.

    >>> from spikingtorch.functional import IFState, if_step, scan
    >>> rest = RefractoryState(IFState(v=torch.zeros(1)), left=torch.zeros(1))
    >>> scan(Refractory(if_step, 2), rest, torch.ones(5, 1))[1].flatten()
    tensor([1., 0., 0., 1., 0.])
    """

    step: Callable[..., tuple[Any, Tensor]]
    steps: float = 1.0

    def __call__(
        self, state: RefractoryState, x: Any, *, refractory: Tensor | float | None = None, **params: Any
    ) -> Any:
        """Advance one step.

        Args:
            state: the state of the neuron, and the number of steps that it still rests.
            x: its input.
            refractory: length of the rest, which replaces ``steps``, broadcastable to the neurons.
            **params: its parameters.
        """
        after, out = self.step(state.neuron, x, **params)
        check_kind(self.step, state.neuron, after)
        _check_spikes(self, out)
        resting = state.left > 0
        rests(resting, params.get("surrogate"))
        neuron = tree_map(lambda new, old: torch.where(resting, old, new), after, state.neuron)
        out = torch.where(resting, torch.zeros_like(out), out)
        period = self.steps if refractory is None else refractory
        left = torch.where(resting, state.left - 1.0, (out != 0).to(state.left.dtype) * period)
        return RefractoryState(neuron, left.detach()), out

    def at_rest(self, neuron: Any, like: Tensor) -> RefractoryState:
        """Return the state at rest, from that of the neuron and an input of one step."""
        return RefractoryState(inner_rest(self.step, neuron, like), _zeros(like))


class RelativeRefractoryState(NamedTuple):
    """State of ``RelativeRefractory``: the state of the neuron, and r, the rise of its threshold."""

    neuron: Any
    r: Tensor


class RelativeRefractory(NamedTuple):
    """The step of a neuron whose threshold jumps at each of its spikes and decays back.

        state[t], out[t] = step(state[t-1], x[t], threshold + r[t-1])
        r[t]             = decay r[t-1] + jump out[t]

    A spike of -1 lowers the threshold, and a graded spike raises it in proportion to its height.

    Args:
        step: the step of the neuron, with a parameter ``threshold``, whose output is a tensor.
        jump: rise of the threshold by a spike, in units of the membrane.
        decay: share of the rise that is left after a step, in [0, 1].

    >>> from spikingtorch.functional import IFState, if_step, scan
    >>> rest = RelativeRefractoryState(IFState(v=torch.zeros(1)), r=torch.zeros(1))
    >>> scan(RelativeRefractory(if_step, jump=1.0, decay=0.5), rest, torch.ones(5, 1))[1].flatten()
    tensor([1., 0., 1., 0., 1.])
    """

    step: Callable[..., tuple[Any, Tensor]]
    jump: float = 1.0
    decay: float = 0.5

    def __call__(
        self, state: RelativeRefractoryState, x: Any, *, threshold: Tensor | float = 1.0, **params: Any
    ) -> Any:
        """Advance one step.

        Args:
            state: the state of the neuron, and the rise of its threshold.
            x: its input.
            threshold: membrane at which a neuron fires after silence.
            **params: its other parameters.
        """
        neuron, out = self.step(state.neuron, x, threshold=threshold + state.r, **params)
        _check_spikes(self, out)
        return RelativeRefractoryState(neuron, self.decay * state.r + self.jump * out), out

    def at_rest(self, neuron: Any, like: Tensor) -> RelativeRefractoryState:
        """Return the state at rest, from that of the neuron and an input of one step."""
        return RelativeRefractoryState(inner_rest(self.step, neuron, like), _zeros(like))
