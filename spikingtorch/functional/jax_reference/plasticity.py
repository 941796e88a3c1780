"""Short-term plasticity of a synapse."""

from typing import NamedTuple

import jax

from spikingtorch.functional.jax_reference.spike import Parameter


class ShortTermPlasticityState(NamedTuple):
    """Facilitated release f, and the share q of the resources that is used up, each of shape (*N,)."""

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

    Arguments and returns: those of ``spikingtorch.functional.short_term_plasticity_step``.
    """
    f = decay_facilitation * state.f
    q = decay_recovery * state.q
    f = f + release * (1 - f) * x
    out = f * (1 - q) * x
    return ShortTermPlasticityState(f=f, q=q + out), out
