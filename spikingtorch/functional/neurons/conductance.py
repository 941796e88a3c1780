"""A LIF neuron whose inputs are conductances, so that they set its speed as well as its drive."""

from typing import NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.firing import fire
from spikingtorch.functional.reset import Reset, to_zero
from spikingtorch.functional.spike import Surrogate
from spikingtorch.functional.surrogate import Sigmoid


class BioLIFState(NamedTuple):
    """State of ``biolif_step``: v, the membrane after the reset."""

    v: Tensor


class BioLIFInput(NamedTuple):
    """Input of ``biolif_step``: the excitatory and the inhibitory conductance."""

    excitatory: Tensor
    inhibitory: Tensor


def biolif_step(
    state: BioLIFState,
    x: BioLIFInput | tuple[Tensor, Tensor],
    *,
    nudt: Tensor | float,
    threshold: Tensor | float = 0.5,
    surrogate: Surrogate = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[BioLIFState, Tensor]:
    """Advance a conductance-based LIF neuron with shunting inhibition by one step.

        nu[t] = 1 + xe[t] + xi[t]
        a[t]  = exp(-nudt nu[t])                no gradient flows through a
        u[t]  = a[t] v[t-1] + (xe[t] / nu[t]) (1 - a[t])
        s[t]  = H(u[t] - threshold)             H(0) = 1
        v[t]  = reset(u[t], s[t], threshold)

    Args:
        state: v[t-1], shape (*N,), in units of the excitatory reversal potential.
        x: the pair (xe, xi) of conductances in units of the leak, each of shape (*N,); nu must not be zero.
        nudt: leak rate times the length of a step, no unit, positive, broadcastable to (*N,).
        threshold: membrane at which the neuron fires, broadcastable to (*N,).
        surrogate: spike function.
        reset: what a spike does to the membrane.

    Returns:
        The state v[t] and the spikes s[t], each of shape (*N,).

    Source: BioLIF of spikingtorch 0.1.3; A. Yanguas-Gil, arXiv:2007.06176.
    """
    xe, xi = x
    nu = 1.0 + xe + xi
    a = torch.exp(-nudt * nu).detach()
    u = a * state.v + (xe / nu) * (1.0 - a)
    v, out, _, _ = fire(u, threshold, surrogate, reset)
    return BioLIFState(v=v), out
