"""The leaky neuron whose threshold rises with each of its spikes."""

from typing import NamedTuple

from torch import Tensor

from spikingtorch.functional.firing import fire
from spikingtorch.functional.reset import Reset, by_subtraction
from spikingtorch.functional.spike import Surrogate
from spikingtorch.functional.surrogate import Sigmoid


class ALIFState(NamedTuple):
    """State of ``alif_step``: v, the membrane after the reset, and a, the trace of spikes that lifts the threshold."""

    v: Tensor
    a: Tensor


def alif_step(
    state: ALIFState,
    x: Tensor,
    *,
    decay: Tensor | float,
    gain: Tensor | float = 1.0,
    decay_adaptation: Tensor | float,
    adaptation: Tensor | float,
    threshold: Tensor | float = 1.0,
    surrogate: Surrogate = Sigmoid(beta=5.0),
    reset: Reset = by_subtraction,
) -> tuple[ALIFState, Tensor]:
    """Advance a LIF neuron with an adaptive threshold by one step.

        theta[t] = threshold + adaptation a[t-1]
        u[t]     = decay v[t-1] + gain x[t]
        s[t]     = H(u[t] - theta[t])           H(0) = 1
        v[t]     = reset(u[t], s[t], theta[t])
        a[t]     = decay_adaptation a[t-1] + (1 - decay_adaptation) s[t]

    Args:
        state: v[t-1] and a[t-1], each of shape (*N,).
        x: input current of this step, shape (*N,).
        decay: share of the membrane kept over a step, in [0, 1], broadcastable to (*N,).
        gain: membrane per unit of current, broadcastable to (*N,).
        decay_adaptation: share of the trace kept over a step, in [0, 1], broadcastable to (*N,).
        adaptation: rise of the threshold per unit of the trace, in units of the membrane, broadcastable to (*N,).
        threshold: membrane at which a neuron fires after silence, broadcastable to (*N,).
        surrogate: spike function.
        reset: what a spike does to the membrane.

    Returns:
        The state v[t], a[t] and the spikes s[t], each of shape (*N,).

    Source: G. Bellec, D. Salaj, A. Subramoney, R. Legenstein, W. Maass, "Long short-term memory and
    learning-to-learn in networks of spiking neurons", NeurIPS 2018, arXiv:1803.09574.
    """
    theta = threshold + adaptation * state.a
    u = decay * state.v + gain * x
    v, out, number, _ = fire(u, theta, surrogate, reset)
    return ALIFState(v=v, a=decay_adaptation * state.a + (1.0 - decay_adaptation) * number), out
