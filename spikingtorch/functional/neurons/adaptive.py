"""Leaky neurons that a spike changes for a while: by a higher threshold, a current, or a rest in the next step."""

from typing import NamedTuple, overload

from torch import Tensor

from spikingtorch.functional.firing import fire
from spikingtorch.functional.neurons.leaky import gain_from_tau
from spikingtorch.functional.reset import Reset, by_subtraction, detached, to_zero
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


@overload
def refractory_gain_from_tau(tau: float) -> float: ...
@overload
def refractory_gain_from_tau(tau: Tensor) -> Tensor: ...
def refractory_gain_from_tau(tau: Tensor | float) -> Tensor | float:
    """Return ``c = tau (1 - b)`` with ``b = tau (1 - exp(-1 / tau))``, the gain in the step after a spike.

    Args:
        tau: membrane time constant, in steps, positive.

    >>> round(refractory_gain_from_tau(8.0), 4)
    0.4798
    """
    if isinstance(tau, Tensor):
        # b is close to 1: in float32 the difference keeps three digits at tau = 1000
        precise = tau.double()
        return (precise * (1.0 - gain_from_tau(precise))).to(tau.dtype)
    return tau * (1.0 - gain_from_tau(tau))


class CoarseLIFState(NamedTuple):
    """State of ``coarse_lif_step``: v, the membrane after the reset, and s, the last spike."""

    v: Tensor
    s: Tensor


def coarse_lif_step(
    state: CoarseLIFState,
    x: Tensor,
    *,
    decay: Tensor | float,
    gain: Tensor | float,
    refractory_gain: Tensor | float,
    threshold: Tensor | float = 1.0,
    surrogate: Surrogate = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[CoarseLIFState, Tensor]:
    """Advance a LIF neuron on a time step as coarse as its refractory time.

        u[t] = decay v[t-1] + ((1 - s[t-1]) gain + s[t-1] refractory_gain) x[t]
        s[t] = H(u[t] - threshold)              H(0) = 1
        v[t] = reset(u[t], s[t], threshold)

    A neuron that has just fired integrates only the rest of the step. So its gain is smaller: ``refractory_gain``,
    broadcastable to (*N,); see ``refractory_gain_from_tau``. The other arguments are those of ``lif_step``. The
    published model resets the membrane to zero.

    Returns:
        The state v[t], s[t] and the spikes s[t], each of shape (*N,).

    Source: A. Yanguas-Gil, "Coarse scale representation of spiking neural networks", arXiv:2007.06176.
    """
    u = decay * state.v + ((1.0 - state.s) * gain + state.s * refractory_gain) * x
    v, out, _, fired = fire(u, threshold, surrogate, reset)
    return CoarseLIFState(v=v, s=fired), out


class SEAdLIFState(NamedTuple):
    """State of ``se_adlif_step``: v, the membrane after the reset, and w, the current that adapts it."""

    v: Tensor
    w: Tensor


def se_adlif_step(
    state: SEAdLIFState,
    x: Tensor,
    *,
    decay: Tensor | float,
    decay_w: Tensor | float,
    a: Tensor | float,
    b: Tensor | float,
    q: Tensor | float = 120.0,
    threshold: Tensor | float = 1.0,
    surrogate: Surrogate = Sigmoid(beta=5.0),
    reset: Reset = detached(to_zero),
) -> tuple[SEAdLIFState, Tensor]:
    """Advance a LIF neuron with an adaptation current, by one symplectic step of Euler's method.

        u[t] = decay v[t-1] + (1 - decay) (x[t] - w[t-1])
        s[t] = H(u[t] - threshold)              H(0) = 1
        v[t] = reset(u[t], s[t], threshold)
        w[t] = decay_w w[t-1] + (1 - decay_w) q (a v[t] + b s[t])

    The adaptation reads the membrane of the same step. Membrane and adaptation can oscillate, and stay stable where the
    explicit step, which reads the one before, grows.

    Args:
        state: v[t-1] and w[t-1], each of shape (*N,).
        x: input current of this step, in units of the membrane, shape (*N,).
        decay: share of the membrane kept over a step, in [0, 1], broadcastable to (*N,).
        decay_w: likewise of the adaptation.
        a: how strongly the adaptation follows the membrane, broadcastable to (*N,).
        b: how strongly it follows spikes, in units of the membrane, broadcastable to (*N,).
        q: factor of both, without a unit, broadcastable to (*N,).
        threshold: membrane at which the neuron fires, broadcastable to (*N,).
        surrogate: spike function.
        reset: what a spike does to the membrane.

    Returns:
        The state v[t], w[t] and the spikes s[t], each of shape (*N,).

    Source: M. Baronig, R. Ferrand, S. Sabathiel, R. Legenstein, "Advancing spatio-temporal processing in spiking neural
    networks through adaptation" (2024), arXiv:2408.07517.
    """
    u = decay * state.v + (1.0 - decay) * (x - state.w)
    v, out, number, _ = fire(u, threshold, surrogate, reset)
    w = decay_w * state.w + (1.0 - decay_w) * q * (a * v + b * number)
    return SEAdLIFState(v=v, w=w), out
