"""Synapses as filters of spikes: exponential and alpha-shaped currents, and short-term plasticity."""

from typing import NamedTuple

from torch import Tensor


class ExponentialSynapseState(NamedTuple):
    """State of ``exponential_synapse_step``: i, the current."""

    i: Tensor


def exponential_synapse_step(
    state: ExponentialSynapseState, x: Tensor, *, decay: Tensor | float
) -> tuple[ExponentialSynapseState, Tensor]:
    """Advance a synapse whose current jumps at a spike and decays, by one step.

        i[t] = decay i[t-1] + x[t]

    Args:
        state: i[t-1], shape (*N,).
        x: spikes of this step, shape (*N,).
        decay: share of the current kept over a step, in [0, 1], broadcastable to (*N,).

    Returns:
        The state i[t] and the current i[t], each of shape (*N,).
    """
    i = decay * state.i + x
    return ExponentialSynapseState(i=i), i


class AlphaSynapseState(NamedTuple):
    """State of ``alpha_synapse_step``: i, the current, and r, which i follows."""

    i: Tensor
    r: Tensor


def alpha_synapse_step(
    state: AlphaSynapseState, x: Tensor, *, decay_rise: Tensor | float, gain_rise: Tensor | float, decay: Tensor | float
) -> tuple[AlphaSynapseState, Tensor]:
    """Advance a synapse whose current rises with one time constant and decays with another, by one step.

        r[t] = decay_rise r[t-1] + gain_rise x[t]
        i[t] = decay i[t-1] + r[t]

    Args:
        state: i[t-1] and r[t-1], each of shape (*N,).
        x: spikes of this step, shape (*N,).
        decay_rise: share of r kept over a step, in [0, 1], broadcastable to (*N,).
        gain_rise: r per unit of input, broadcastable to (*N,).
        decay: share of the current kept over a step, in [0, 1], broadcastable to (*N,).

    Returns:
        The state i[t], r[t] and the current i[t], each of shape (*N,).
    """
    r = decay_rise * state.r + gain_rise * x
    i = decay * state.i + r
    return AlphaSynapseState(i=i, r=r), i


class ShortTermPlasticityState(NamedTuple):
    """State of ``short_term_plasticity_step``: f, the facilitation, and q, the used share of the resources."""

    f: Tensor
    q: Tensor


def short_term_plasticity_step(
    state: ShortTermPlasticityState,
    x: Tensor,
    *,
    release: Tensor | float,
    decay_facilitation: Tensor | float,
    decay_recovery: Tensor | float,
) -> tuple[ShortTermPlasticityState, Tensor]:
    """Advance a synapse by one step that facilitates and tires, by the model of M. Tsodyks and H. Markram.

        f'     = decay_facilitation f[t-1]
        q'     = decay_recovery q[t-1]
        f[t]   = f' + release (1 - f') x[t]
        out[t] = f[t] (1 - q') x[t]
        q[t]   = q' + out[t]

    A spike increases the share f that is released. It releases this share of the available resources, 1 - q, which are
    then used up.

    Args:
        state: f[t-1] and q[t-1], each of shape (*N,); both are zero at rest.
        x: spikes of this step, 0 or 1, shape (*N,).
        release: share of the resources that the first spike releases, in [0, 1], broadcastable to (*N,).
        decay_facilitation: share of f kept over a step, in [0, 1], broadcastable to (*N,); 0 gives a synapse that only
            tires.
        decay_recovery: share of q kept over a step, in [0, 1], broadcastable to (*N,).

    Returns:
        The state f[t], q[t] and the efficacy of the spikes out[t], each of shape (*N,).

    Source: M. Tsodyks, K. Pawelzik, H. Markram, Neural Comput. 10 (1998), doi:10.1162/089976698300017502.
    """
    f, q = decay_facilitation * state.f, decay_recovery * state.q
    f = f + release * (1.0 - f) * x
    out = f * (1.0 - q) * x
    return ShortTermPlasticityState(f=f, q=q + out), out
