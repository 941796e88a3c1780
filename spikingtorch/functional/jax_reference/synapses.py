"""Synapses with a current that outlasts the spike, and with short-term plasticity."""

from typing import NamedTuple

import jax

from spikingtorch.functional.jax_reference.spike import Parameter


class ExponentialSynapseState(NamedTuple):
    """Synaptic current i, shape (*N,)."""

    i: jax.Array


class AlphaSynapseState(NamedTuple):
    """Synaptic current i and its rise r, each of shape (*N,)."""

    i: jax.Array
    r: jax.Array


def exponential_synapse_step(
    state: ExponentialSynapseState, x: jax.Array, *, decay: Parameter
) -> tuple[ExponentialSynapseState, jax.Array]:
    """Advance a synapse whose current decays exponentially, by one step.

    i[t] = decay i[t-1] + x[t]
    """
    i = decay * state.i + x
    return ExponentialSynapseState(i=i), i


def alpha_synapse_step(
    state: AlphaSynapseState, x: jax.Array, *, decay_rise: Parameter, gain_rise: Parameter, decay: Parameter
) -> tuple[AlphaSynapseState, jax.Array]:
    """Advance a synapse whose current rises and decays, by one step.

    r[t] = decay_rise r[t-1] + gain_rise x[t]
    i[t] = decay i[t-1] + r[t]
    """
    r = decay_rise * state.r + gain_rise * x
    i = decay * state.i + r
    return AlphaSynapseState(i=i, r=r), i


class ShortTermPlasticityState(NamedTuple):
    """Facilitated release f, and the used share q of the resources, each of shape (*N,)."""

    f: jax.Array
    q: jax.Array


def short_term_plasticity_step(
    state: ShortTermPlasticityState,
    x: jax.Array,
    *,
    release: Parameter,
    decay_facilitation: Parameter,
    decay_recovery: Parameter,
) -> tuple[ShortTermPlasticityState, jax.Array]:
    """Advance a synapse that facilitates and depresses by one step.

        f'     = decay_facilitation f[t-1]
        q'     = decay_recovery q[t-1]
        f[t]   = f' + release (1 - f') x[t]
        out[t] = f[t] (1 - q') x[t]
        q[t]   = q' + out[t]

    Tsodyks, Pawelzik and Markram, "Neural networks with dynamic synapses", Neural Computation 1998,
    doi:10.1162/089976698300017502.
    """
    f = decay_facilitation * state.f
    q = decay_recovery * state.q
    f = f + release * (1 - f) * x
    out = f * (1 - q) * x
    return ShortTermPlasticityState(f=f, q=q + out), out
