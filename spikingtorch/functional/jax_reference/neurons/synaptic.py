"""Leaky neurons with a synaptic current of their own."""

from typing import NamedTuple

import jax

from spikingtorch.functional.jax_reference.firing import SpikeFunction, fire
from spikingtorch.functional.jax_reference.reset import Reset, to_zero
from spikingtorch.functional.jax_reference.spike import Parameter
from spikingtorch.functional.jax_reference.surrogate import Sigmoid


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

    Arguments and returns: those of ``spikingtorch.functional.cuba_lif_step``.
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

    Arguments and returns: those of ``spikingtorch.functional.alpha_lif_step``.
    """
    r = decay_rise * state.r + gain_rise * x
    i = decay_syn * state.i + r
    u = decay * state.v + gain * i
    fired = fire(u, threshold, surrogate, reset)
    return AlphaLIFState(v=fired.v, i=i, r=r), fired.out
