"""Leaky neurons behind a synapse: with a synaptic current of their own, or with conductances."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from spikingtorch.functional.jax_reference.closed_forms import Sigmoid
from spikingtorch.functional.jax_reference.firing import SpikeFunction, fire
from spikingtorch.functional.jax_reference.reset import Reset, to_zero
from spikingtorch.functional.jax_reference.spike import Parameter


class CubaLIFState(NamedTuple):
    """Membrane v after the reset and synaptic current i, each of shape (*N,)."""

    v: jax.Array
    i: jax.Array


class AlphaLIFState(NamedTuple):
    """Membrane v after the reset, synaptic current i and its rise r, each of shape (*N,)."""

    v: jax.Array
    i: jax.Array
    r: jax.Array


def cuba_lif_step(
    state: CubaLIFState,
    x: jax.Array,
    *,
    decay_syn: Parameter,
    decay: Parameter,
    gain: Parameter = 1.0,
    threshold: Parameter = 1.0,
    surrogate: SpikeFunction = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[CubaLIFState, jax.Array]:
    """Advance a leaky neuron behind an exponential synapse by one step.

    i[t] = decay_syn i[t-1] + x[t]
    u[t] = decay v[t-1] + gain i[t]
    s[t] = H(u[t] - threshold)
    v[t] = reset(u[t], s[t], threshold)
    """
    i = decay_syn * state.i + x
    u = decay * state.v + gain * i
    fired = fire(u, threshold, surrogate, reset)
    return CubaLIFState(v=fired.v, i=i), fired.out


def alpha_lif_step(
    state: AlphaLIFState,
    x: jax.Array,
    *,
    decay_rise: Parameter,
    gain_rise: Parameter,
    decay_syn: Parameter,
    decay: Parameter,
    gain: Parameter = 1.0,
    threshold: Parameter = 1.0,
    surrogate: SpikeFunction = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[AlphaLIFState, jax.Array]:
    """Advance a leaky neuron behind a synapse that rises and falls by one step.

    r[t] = decay_rise r[t-1] + gain_rise x[t]
    i[t] = decay_syn i[t-1] + r[t]
    u[t] = decay v[t-1] + gain i[t]
    s[t] = H(u[t] - threshold)
    v[t] = reset(u[t], s[t], threshold)
    """
    r = decay_rise * state.r + gain_rise * x
    i = decay_syn * state.i + r
    u = decay * state.v + gain * i
    fired = fire(u, threshold, surrogate, reset)
    return AlphaLIFState(v=fired.v, i=i, r=r), fired.out


class BioLIFState(NamedTuple):
    """Membrane v after the reset, shape (*N,)."""

    v: jax.Array


class BioLIFInput(NamedTuple):
    """Excitatory and inhibitory conductance, each of shape (*N,), in units of the leak conductance."""

    excitatory: jax.Array
    inhibitory: jax.Array


def biolif_step(
    state: BioLIFState,
    x: BioLIFInput,
    *,
    nudt: Parameter,
    threshold: Parameter = 0.5,
    surrogate: SpikeFunction = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[BioLIFState, jax.Array]:
    """Advance a conductance-based neuron by one step.

    nu   = 1 + xe[t] + xi[t]
    a    = exp(-nudt nu), held constant in the gradient
    u[t] = a v[t-1] + (xe[t] / nu) (1 - a)
    s[t] = H(u[t] - threshold)
    v[t] = reset(u[t], s[t], threshold)
    """
    xe, xi = x
    nu = 1 + xe + xi
    a = jax.lax.stop_gradient(jnp.exp(-nudt * nu))
    u = a * state.v + (xe / nu) * (1 - a)
    fired = fire(u, threshold, surrogate, reset)
    return BioLIFState(v=fired.v), fired.out
