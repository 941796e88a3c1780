"""Neurons that oscillate: they fire for inputs of their own frequency."""

from typing import NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.firing import fire
from spikingtorch.functional.reset import Reset, none
from spikingtorch.functional.spike import Surrogate
from spikingtorch.functional.surrogate import Sigmoid


class ResonateAndFireState(NamedTuple):
    """State of ``resonate_and_fire_step``: v, the membrane after the reset, and w, which it oscillates with."""

    v: Tensor
    w: Tensor


def resonate_and_fire_step(
    state: ResonateAndFireState,
    x: Tensor,
    *,
    omega: Tensor | float,
    damping: Tensor | float,
    dt: Tensor | float = 0.01,
    threshold: Tensor | float = 1.0,
    surrogate: Surrogate = Sigmoid(beta=5.0),
    reset: Reset = none,
) -> tuple[ResonateAndFireState, Tensor]:
    """Advance a resonate-and-fire neuron by one step of Euler's method.

        u[t] = v[t-1] + dt (damping v[t-1] - omega w[t-1] + x[t])
        w[t] = w[t-1] + dt (omega v[t-1] + damping w[t-1])
        s[t] = H(u[t] - threshold)              H(0) = 1
        v[t] = reset(u[t], s[t], threshold)

    v and w are the real and the imaginary part of z in dz/dt = (damping + i omega) z + x. Euler's method makes it grow
    where damping > (-1 + sqrt(1 - (dt omega)^2)) / dt.

    Args:
        state: v[t-1] and w[t-1], each of shape (*N,).
        x: input current of this step, shape (*N,).
        omega: angular frequency, in radians per unit of time, broadcastable to (*N,).
        damping: rate at which an oscillation decays, at most zero, per unit of time, broadcastable to (*N,).
        dt: length of a step, in the unit of time.
        threshold: membrane at which the neuron fires, broadcastable to (*N,).
        surrogate: spike function.
        reset: what a spike does to v; w stays unchanged.

    Returns:
        The state v[t], w[t] and the spikes s[t], each of shape (*N,).

    Source: E. M. Izhikevich, Neural Netw. 14 (2001), doi:10.1016/S0893-6080(01)00078-8; in discrete time S. Higuchi,
    S. Kairat, S. M. Bohté, S. Otte, ICML 2024, arXiv:2402.14603.
    """
    v, w = state.v, state.w
    u = v + dt * (damping * v - omega * w + x)
    w = w + dt * (omega * v + damping * w)
    v, out, _, _ = fire(u, threshold, surrogate, reset)
    return ResonateAndFireState(v=v, w=w), out


class BalancedResonateAndFireState(NamedTuple):
    """State of ``balanced_resonate_and_fire_step``: v, w, and q, the trace of spikes that makes it refractory."""

    v: Tensor
    w: Tensor
    q: Tensor


def balanced_resonate_and_fire_step(
    state: BalancedResonateAndFireState,
    x: Tensor,
    *,
    omega: Tensor | float,
    offset: Tensor | float,
    decay_refractory: Tensor | float = 0.9,
    dt: float = 0.01,
    threshold: Tensor | float = 1.0,
    surrogate: Surrogate = Sigmoid(beta=5.0),
) -> tuple[BalancedResonateAndFireState, Tensor]:
    """Advance a balanced resonate-and-fire neuron by one step.

        p     = (-1 + sqrt(1 - (dt omega)^2)) / dt
        b[t]  = p - offset - q[t-1]
        v[t]  = v[t-1] + dt (b[t] v[t-1] - omega w[t-1] + x[t])
        w[t]  = w[t-1] + dt (omega v[t-1] + b[t] w[t-1])
        s[t]  = H(v[t] - threshold - q[t-1])    H(0) = 1
        q[t]  = decay_refractory q[t-1] + s[t]

    At the damping p an oscillation keeps its height, so the neuron is stable for every offset above zero. A spike
    increases the damping and the threshold. This replaces a reset.

    ``offset`` is the damping beyond p, positive, per unit of time. ``decay_refractory`` is the share of q kept over a
    step, in [0, 1]. Both are broadcastable to (*N,). The other arguments are those of ``resonate_and_fire_step``.
    ``omega`` is at most 1 / dt, and ``threshold`` holds for a neuron that has been silent.

    Returns:
        The state v[t], w[t], q[t] and the spikes s[t], each of shape (*N,).

    Source: S. Higuchi, S. Kairat, S. M. Bohté, S. Otte, "Balanced resonate-and-fire neurons", ICML 2024,
    arXiv:2402.14603.
    """
    v, w, q = state
    turn = torch.as_tensor(dt * omega, dtype=v.dtype, device=v.device)
    b = (-1.0 + torch.sqrt(1.0 - turn * turn)) / dt - offset - q
    u = v + dt * (b * v - omega * w + x)
    w = w + dt * (omega * v + b * w)
    v, out, number, _ = fire(u, threshold + q, surrogate, none)
    return BalancedResonateAndFireState(v=v, w=w, q=decay_refractory * q + number), out


class HarmonicResonateAndFireState(NamedTuple):
    """State of ``harmonic_resonate_and_fire_step``: v, w, whose rate of change is v, and q, as in the balanced form."""

    v: Tensor
    w: Tensor
    q: Tensor


def harmonic_resonate_and_fire_step(
    state: HarmonicResonateAndFireState,
    x: Tensor,
    *,
    omega: Tensor | float,
    offset: Tensor | float,
    decay_refractory: Tensor | float = 0.9,
    dt: Tensor | float = 0.01,
    threshold: Tensor | float = 1.0,
    surrogate: Surrogate = Sigmoid(beta=5.0),
) -> tuple[HarmonicResonateAndFireState, Tensor]:
    """Advance a damped harmonic oscillator that fires by its velocity, by one step.

        b[t]  = dt omega^2 / 2 + offset + q[t-1]
        w[t]  = w[t-1] + dt v[t-1]
        v[t]  = v[t-1] + dt (x[t] - 2 b[t] v[t-1] - omega^2 w[t])
        s[t]  = H(v[t] - threshold - q[t-1])    H(0) = 1
        q[t]  = decay_refractory q[t-1] + s[t]

    It is the semi-implicit step of Euler's method for w'' + 2 b w' + omega^2 w = x and v = w'. It grows where
    3 (dt omega)^2 + 4 dt (offset + q) > 4. ``offset`` is positive, per unit of time; the other arguments are those of
    ``balanced_resonate_and_fire_step``.

    Returns:
        The state v[t], w[t], q[t] and the spikes s[t], each of shape (*N,).

    Source: S. Higuchi, S. Kairat, S. M. Bohté, S. Otte, the HRF cell of the code to arXiv:2402.14603.
    """
    v, w, q = state
    w = w + dt * v
    square = omega * omega
    u = v + dt * (x - (dt * square + 2.0 * (offset + q)) * v - square * w)
    v, out, number, _ = fire(u, threshold + q, surrogate, none)
    return HarmonicResonateAndFireState(v=v, w=w, q=decay_refractory * q + number), out
