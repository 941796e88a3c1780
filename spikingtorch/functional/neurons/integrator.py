"""The integrate-and-fire neuron."""

from typing import NamedTuple

from torch import Tensor

from spikingtorch.functional.firing import fire
from spikingtorch.functional.reset import Reset, to_zero
from spikingtorch.functional.spike import Surrogate
from spikingtorch.functional.surrogate import Sigmoid


class IFState(NamedTuple):
    """State of ``if_step``: v, the membrane after the reset."""

    v: Tensor


def if_step(
    state: IFState,
    x: Tensor,
    *,
    threshold: Tensor | float = 1.0,
    surrogate: Surrogate = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[IFState, Tensor]:
    """Advance an integrate-and-fire neuron by one step.

        u[t] = v[t-1] + x[t]
        s[t] = H(u[t] - threshold)              H(0) = 1
        v[t] = reset(u[t], s[t], threshold)

    Args:
        state: v[t-1], shape (*N,).
        x: input of this step, in units of the membrane, shape (*N,).
        threshold: membrane at which the neuron fires, broadcastable to (*N,).
        surrogate: spike function.
        reset: what a spike does to the membrane.

    Returns:
        The state v[t] and the spikes s[t], each of shape (*N,).

    Source: L. Lapicque, J. Physiol. Pathol. Gen. 9 (1907); in discrete time, A. Yanguas-Gil, arXiv:2007.06176.

    >>> import torch
    >>> state = IFState(v=torch.zeros(3))
    >>> if_step(state, torch.tensor([0.5, 1.0, 1.5]))
    (IFState(v=tensor([0.5000, 0.0000, 0.0000])), tensor([0., 1., 1.]))
    """
    u = state.v + x
    v, out, _, _ = fire(u, threshold, surrogate, reset)
    return IFState(v=v), out
