"""Leaky neurons: LIF, also by Euler's method, the spiking decay and the leaky integrator that reads out."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from spikingtorch.functional.jax_reference.closed_forms import Sigmoid
from spikingtorch.functional.jax_reference.firing import SpikeFunction, fire
from spikingtorch.functional.jax_reference.reset import Reset, to_zero
from spikingtorch.functional.jax_reference.spike import Parameter


class LIFState(NamedTuple):
    """Membrane v after the reset, shape (*N,)."""

    v: jax.Array


class SpikingDecayState(NamedTuple):
    """Membrane v after the reset, shape (*N,)."""

    v: jax.Array


class LIState(NamedTuple):
    """Membrane v, shape (*N,)."""

    v: jax.Array


def decay_from_tau(tau: Parameter) -> jax.Array:
    """Return exp(-1 / tau), the part of the membrane that is left after a step; tau in steps."""
    return jnp.exp(-1 / tau)


def gain_from_tau(tau: Parameter) -> jax.Array:
    """Return tau (1 - exp(-1 / tau)), the gain of the membrane for a current that lasts one step; tau in steps."""
    return -tau * jnp.expm1(-1 / tau)


def lif_step(
    state: LIFState,
    x: jax.Array,
    *,
    decay: Parameter,
    gain: Parameter = 1.0,
    threshold: Parameter = 1.0,
    surrogate: SpikeFunction = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[LIFState, jax.Array]:
    """Advance a leaky integrate-and-fire neuron by one step.

    u[t] = decay v[t-1] + gain x[t]
    s[t] = H(u[t] - threshold)
    v[t] = reset(u[t], s[t], threshold)
    """
    u = decay * state.v + gain * x
    fired = fire(u, threshold, surrogate, reset)
    return LIFState(v=fired.v), fired.out


def spiking_decay_step(
    state: SpikingDecayState,
    x: jax.Array,
    *,
    tau: Parameter,
    threshold: Parameter = 1.0,
    surrogate: SpikeFunction = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[SpikingDecayState, jax.Array]:
    """Advance a neuron that divides its membrane by tau, by one step.

    u[t] = v[t-1] / tau + x[t]
    s[t] = H(u[t] - threshold)
    v[t] = reset(u[t], s[t], threshold)
    """
    u = state.v / tau + x
    fired = fire(u, threshold, surrogate, reset)
    return SpikingDecayState(v=fired.v), fired.out


def li_step(state: LIState, x: jax.Array, *, decay: Parameter, gain: Parameter = 1.0) -> tuple[LIState, jax.Array]:
    """Advance a leaky integrator, which does not spike, by one step.

    v[t] = decay v[t-1] + gain x[t]
    """
    v = decay * state.v + gain * x
    return LIState(v=v), v


class EulerLIFState(NamedTuple):
    """Membrane v after the reset, shape (*N,)."""

    v: jax.Array


def leak_from_w(w: Parameter) -> jax.Array:
    """Return 1 / (1 + exp(-w)), the leak of an unbounded learnable w."""
    return jax.nn.sigmoid(w)


def euler_lif_step(
    state: EulerLIFState,
    x: jax.Array,
    *,
    leak: Parameter,
    v_rest: Parameter = 0.0,
    threshold: Parameter = 1.0,
    surrogate: SpikeFunction = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[EulerLIFState, jax.Array]:
    """Advance a leaky integrate-and-fire neuron by one step of Euler's method.

        u[t] = v[t-1] + leak (x[t] - (v[t-1] - v_rest))
        s[t] = H(u[t] - threshold)
        v[t] = reset(u[t], s[t], threshold)

    With leak = leak_from_w(w) it is the parametric LIF neuron. Source: Fang et al., "Incorporating learnable membrane
    time constant to enhance learning of spiking neural networks", ICCV 2021, doi:10.1109/ICCV48922.2021.00266.
    """
    u = state.v + leak * (x - (state.v - v_rest))
    fired = fire(u, threshold, surrogate, reset)
    return EulerLIFState(v=fired.v), fired.out
