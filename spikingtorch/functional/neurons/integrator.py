"""Neurons without a leak: the memoryless binary neuron, integrate-and-fire, and sigma-delta."""

from typing import NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.firing import fire, meets
from spikingtorch.functional.reset import Reset, none, to_zero
from spikingtorch.functional.spike import Surrogate
from spikingtorch.functional.surrogate import Sigmoid


class McPittsState(NamedTuple):
    """State of ``mcpitts_step``: nothing, the neuron has no memory."""


def mcpitts_step(
    state: McPittsState, x: Tensor, *, threshold: Tensor | float, surrogate: Surrogate = Sigmoid(beta=3.0)
) -> tuple[McPittsState, Tensor]:
    """Evaluate a McCulloch-Pitts neuron.

        s[t] = H(x[t] - threshold)              H(0) = 1

    Args:
        state: an empty tuple, returned unchanged, so that the neuron works in scan like every other.
        x: input of this step, shape (*N,).
        threshold: input at which the neuron fires, broadcastable to (*N,).
        surrogate: spike function.

    Returns:
        The empty state and the spikes s[t], shape (*N,).

    Source: W. S. McCulloch, W. Pitts, Bull. Math. Biophys. 5 (1943), doi:10.1007/BF02478259.
    """
    return state, fire(x, threshold, surrogate, none).out


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


class SigmaDeltaState(NamedTuple):
    """State of ``sigma_delta_step``: v, the sum of the inputs, and sent, the sum of the outputs."""

    v: Tensor
    sent: Tensor


def sigma_delta_step(
    state: SigmaDeltaState, x: Tensor, *, threshold: Tensor | float = 0.1, surrogate: Surrogate = Sigmoid(beta=5.0)
) -> tuple[SigmaDeltaState, Tensor]:
    """Advance a sigma-delta neuron by one step.

        v[t]    = v[t-1] + x[t]
        e[t]    = max(v[t], 0) - sent[t-1]
        out[t]  = e[t] H(|e[t]| - threshold)    H(0) = 1
        sent[t] = sent[t-1] + out[t]

    It sums the changes that it receives. It sends changes of its activation, a ReLU, once they are large enough. The
    sum that it has sent never differs from the activation by more than the threshold. The output is graded, and may be
    negative.

    Args:
        state: v[t-1] and sent[t-1], each of shape (*N,).
        x: change of the input at this step, shape (*N,).
        threshold: smallest change that is sent, positive, broadcastable to (*N,).
        surrogate: spike function of ``|e| - threshold``.

    Returns:
        The state v[t], sent[t] and the output out[t], each of shape (*N,).

    Source: P. O'Connor, M. Welling, "Sigma delta quantized networks", ICLR 2017, arXiv:1611.02024.
    """
    v = state.v + x
    e = torch.relu(v) - state.sent
    meets(e, threshold, surrogate)
    out = e * surrogate(e.abs() - threshold)
    return SigmaDeltaState(v=v, sent=state.sent + out), out
