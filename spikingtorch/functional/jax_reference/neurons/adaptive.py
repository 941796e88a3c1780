"""Leaky neurons that a spike changes for a while: by a higher threshold, a current, or a rest in the next step."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from spikingtorch.functional.jax_reference.closed_forms import Sigmoid
from spikingtorch.functional.jax_reference.firing import SpikeFunction, fire
from spikingtorch.functional.jax_reference.reset import Reset, by_subtraction, detached, to_zero
from spikingtorch.functional.jax_reference.spike import Parameter


class ALIFState(NamedTuple):
    """Membrane v after the reset and trace a of the spikes, each of shape (*N,)."""

    v: jax.Array
    a: jax.Array


def alif_step(
    state: ALIFState,
    x: jax.Array,
    *,
    decay: Parameter,
    gain: Parameter = 1.0,
    decay_adaptation: Parameter,
    adaptation: Parameter,
    threshold: Parameter = 1.0,
    surrogate: SpikeFunction = Sigmoid(beta=5.0),
    reset: Reset = by_subtraction,
) -> tuple[ALIFState, jax.Array]:
    """Advance a leaky neuron with an adaptive threshold by one step.

        theta = threshold + adaptation a[t-1]
        u[t]  = decay v[t-1] + gain x[t]
        s[t]  = H(u[t] - theta)
        v[t]  = reset(u[t], s[t], theta)
        a[t]  = decay_adaptation a[t-1] + (1 - decay_adaptation) s[t]

    Bellec et al., "Long short-term memory and learning-to-learn in networks of spiking neurons", NeurIPS 2018,
    doi:10.48550/arXiv.1803.09574. The trace a counts spikes: each of several spikes in a step, and each negative spike,
    adds 1.
    """
    theta = threshold + adaptation * state.a
    u = decay * state.v + gain * x
    fired = fire(u, theta, surrogate, reset)
    a = decay_adaptation * state.a + (1 - decay_adaptation) * fired.number
    return ALIFState(v=fired.v, a=a), fired.out


class CoarseLIFState(NamedTuple):
    """Membrane v after the reset and last spike s, each of shape (*N,)."""

    v: jax.Array
    s: jax.Array


def refractory_gain_from_tau(tau: Parameter) -> jax.Array:
    """Return tau (1 - gain_from_tau(tau)), the gain in the step after a spike; tau in steps.

    With h = 1 / tau this is (h - 1 + exp(-h)) / h^2 = sum_k (-h)^k / (k + 2)!. The series is used for tau > 1, where
    the quotient cancels.
    """
    h = 1 / jnp.asarray(tau)
    slow = h < 1
    # The unused branch is evaluated at h = 1, so that its gradient stays finite.
    quick_h, slow_h = jnp.where(slow, 1, h), jnp.where(slow, h, 1)
    quotient = (quick_h + jnp.expm1(-quick_h)) / quick_h**2
    coefficients = [1 / math.factorial(k + 2) for k in reversed(range(18))]
    series = functools.reduce(lambda total, coefficient: coefficient - slow_h * total, coefficients, jnp.zeros_like(h))
    return jnp.where(slow, series, quotient)


def coarse_lif_step(
    state: CoarseLIFState,
    x: jax.Array,
    *,
    decay: Parameter,
    gain: Parameter,
    refractory_gain: Parameter,
    threshold: Parameter = 1.0,
    surrogate: SpikeFunction = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[CoarseLIFState, jax.Array]:
    """Advance a coarse-grained LIF neuron by one step.

    Published for the membrane w before the reset, with a = decay, b = gain, c = refractory_gain,

        w[t] = (1 - s[t-1]) (a w[t-1] + b x[t]) + s[t-1] c x[t]
        s[t] = H(w[t] - threshold)

    and computed for the membrane after it, v = (1 - s) w:

        w[t] = a v[t-1] + ((1 - s[t-1]) b + s[t-1] c) x[t]
        s[t] = H(w[t] - threshold)
        v[t] = reset(w[t], s[t], threshold), which is (1 - s[t]) w[t] as published
    """
    w = decay * state.v + ((1 - state.s) * gain + state.s * refractory_gain) * x
    fired = fire(w, threshold, surrogate, reset)
    return CoarseLIFState(v=fired.v, s=fired.fired), fired.out


class SEAdLIFState(NamedTuple):
    """Membrane v after the reset and adaptation w, each of shape (*N,)."""

    v: jax.Array
    w: jax.Array


def se_adlif_step(
    state: SEAdLIFState,
    x: jax.Array,
    *,
    decay: Parameter,
    decay_w: Parameter,
    a: Parameter,
    b: Parameter,
    q: Parameter = 120.0,
    threshold: Parameter = 1.0,
    surrogate: SpikeFunction = Sigmoid(beta=5.0),
    reset: Reset = detached(to_zero),
) -> tuple[SEAdLIFState, jax.Array]:
    """Advance an adaptive neuron by one symplectic step, Baronig et al. 2024, doi:10.48550/arXiv.2408.07517.

        tau dv/dt = -v + x - w,  tau_w dw/dt = -w + q (a v + b s)

    Each equation is solved over a step with its right side constant. The second takes v and s from the end of the step.
    Several spikes in a step count, as in ``alif_step``.
    """
    u = state.v + (1 - decay) * (x - state.w - state.v)
    fired = fire(u, threshold, surrogate, reset)
    w = state.w + (1 - decay_w) * (q * (a * fired.v + b * fired.number) - state.w)
    return SEAdLIFState(v=fired.v, w=w), fired.out
