"""Neurons whose membrane oscillates: resonate-and-fire, and its balanced form."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from spikingtorch.functional.jax_reference.closed_forms import Sigmoid
from spikingtorch.functional.jax_reference.firing import SpikeFunction, fire
from spikingtorch.functional.jax_reference.reset import Reset, none
from spikingtorch.functional.jax_reference.spike import Parameter


class ResonateAndFireState(NamedTuple):
    """Membrane v after the reset and the part w of the oscillation that lags behind it, each of shape (*N,)."""

    v: jax.Array
    w: jax.Array


class BalancedResonateAndFireState(NamedTuple):
    """Membrane v, the part w of the oscillation that lags behind it, and refractoriness q, each of shape (*N,)."""

    v: jax.Array
    w: jax.Array
    q: jax.Array


def resonate_and_fire_step(
    state: ResonateAndFireState,
    x: jax.Array,
    *,
    omega: Parameter,
    damping: Parameter,
    dt: Parameter = 0.01,
    threshold: Parameter = 1.0,
    surrogate: SpikeFunction = Sigmoid(beta=5.0),
    reset: Reset = none,
) -> tuple[ResonateAndFireState, jax.Array]:
    """Advance a resonate-and-fire neuron by one step of Euler's method.

        u[t] = v[t-1] + dt (damping v[t-1] - omega w[t-1] + x[t])
        w[t] = w[t-1] + dt (omega v[t-1] + damping w[t-1])
        s[t] = H(u[t] - threshold)
        v[t] = reset(u[t], s[t], threshold)

    Izhikevich, "Resonate-and-fire neurons", Neural Networks 2001, doi:10.1016/S0893-6080(01)00078-8.
    """
    v, w = state
    u = v + dt * (damping * v - omega * w + x)
    w = w + dt * (omega * v + damping * w)
    fired = fire(u, threshold, surrogate, reset)
    return ResonateAndFireState(v=fired.v, w=w), fired.out


def balanced_resonate_and_fire_step(
    state: BalancedResonateAndFireState,
    x: jax.Array,
    *,
    omega: Parameter,
    offset: Parameter,
    decay_refractory: Parameter = 0.9,
    dt: Parameter = 0.01,
    threshold: Parameter = 1.0,
    surrogate: SpikeFunction = Sigmoid(beta=5.0),
) -> tuple[BalancedResonateAndFireState, jax.Array]:
    """Advance a balanced resonate-and-fire neuron, whose spikes damp it and raise its threshold, by one step.

        p     = (-1 + sqrt(1 - (dt omega)^2)) / dt         the damping at which the step neither grows nor fades
        b     = p - offset - q[t-1]
        theta = threshold + q[t-1]
        v[t]  = v[t-1] + dt (b v[t-1] - omega w[t-1] + x[t])
        w[t]  = w[t-1] + dt (omega v[t-1] + b w[t-1])
        s[t]  = H(v[t] - theta)
        q[t]  = decay_refractory q[t-1] + s[t]

    Higuchi et al., "Balanced resonate-and-fire neurons", ICML 2024, doi:10.48550/arXiv.2402.14603. Spikes in q are
    counted, as in ``alif_step``.
    """
    v, w, q = state
    p = (-1 + jnp.sqrt(1 - (dt * omega) ** 2)) / dt
    b = p - offset - q
    u = v + dt * (b * v - omega * w + x)
    w = w + dt * (omega * v + b * w)
    fired = fire(u, threshold + q, surrogate, none)
    return BalancedResonateAndFireState(v=fired.v, w=w, q=decay_refractory * q + fired.number), fired.out


class HarmonicResonateAndFireState(NamedTuple):
    """Velocity v, position w, and refractoriness q, each of shape (*N,)."""

    v: jax.Array
    w: jax.Array
    q: jax.Array


def harmonic_resonate_and_fire_step(
    state: HarmonicResonateAndFireState,
    x: jax.Array,
    *,
    omega: Parameter,
    offset: Parameter,
    decay_refractory: Parameter = 0.9,
    dt: Parameter = 0.01,
    threshold: Parameter = 1.0,
    surrogate: SpikeFunction = Sigmoid(beta=5.0),
) -> tuple[HarmonicResonateAndFireState, jax.Array]:
    """Advance an oscillator w'' = x - 2 b w' - omega^2 w that fires by its velocity v = w', by one step.

    The position moves first, with the old velocity, and the force is that at the new position. The damping is
    b = dt omega^2 / 2 + offset + q, and q also lifts the threshold, as in the balanced neuron. The authors' code to
    doi:10.48550/arXiv.2402.14603 has this cell.
    """
    v, w, q = state
    position = w + dt * v
    damping = dt / 2 * omega**2 + offset + q
    acceleration = x - 2 * damping * v - omega**2 * position
    fired = fire(v + dt * acceleration, threshold + q, surrogate, none)
    return HarmonicResonateAndFireState(v=fired.v, w=position, q=decay_refractory * q + fired.number), fired.out
