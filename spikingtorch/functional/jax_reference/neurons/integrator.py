"""Neurons without a leak: McCulloch-Pitts, integrate-and-fire, and sigma-delta."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from spikingtorch.functional.jax_reference.closed_forms import Sigmoid
from spikingtorch.functional.jax_reference.firing import SpikeFunction, fire, meets
from spikingtorch.functional.jax_reference.reset import Reset, none, to_zero
from spikingtorch.functional.jax_reference.spike import Parameter
from spikingtorch.functional.jax_reference.surrogate import Surrogate


class McPittsState(NamedTuple):
    """No memory: an empty state."""


def mcpitts_step(
    state: McPittsState, x: jax.Array, *, threshold: Parameter, surrogate: SpikeFunction = Sigmoid(beta=3.0)
) -> tuple[McPittsState, jax.Array]:
    """Advance a McCulloch-Pitts neuron by one step.

    s[t] = H(x[t] - threshold)
    """
    return state, fire(x, threshold, surrogate, none).out


class IFState(NamedTuple):
    """Membrane v after the reset, shape (*N,)."""

    v: jax.Array


def if_step(
    state: IFState,
    x: jax.Array,
    *,
    threshold: Parameter = 1.0,
    surrogate: SpikeFunction = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[IFState, jax.Array]:
    """Advance an integrate-and-fire neuron by one step.

    u[t] = v[t-1] + x[t]
    s[t] = H(u[t] - threshold)
    v[t] = reset(u[t], s[t], threshold)
    """
    u = state.v + x
    fired = fire(u, threshold, surrogate, reset)
    return IFState(v=fired.v), fired.out


class SigmaDeltaState(NamedTuple):
    """Sum v of the inputs, and the activation that has been sent so far, each of shape (*N,)."""

    v: jax.Array
    sent: jax.Array


def sigma_delta_step(
    state: SigmaDeltaState, x: jax.Array, *, threshold: Parameter = 0.1, surrogate: Surrogate = Sigmoid(beta=5.0)
) -> tuple[SigmaDeltaState, jax.Array]:
    """Advance a sigma-delta neuron by one step.

        v[t]    = v[t-1] + x[t]
        e       = max(v[t], 0) - sent[t-1]
        s       = H(|e| - threshold)
        out[t]  = s e
        sent[t] = sent[t-1] + out[t]

    O'Connor and Welling, "Sigma delta quantized networks", ICLR 2017, doi:10.48550/arXiv.1611.02024.
    """
    v = state.v + x
    e = jax.nn.relu(v) - state.sent
    meets(e, threshold, surrogate)
    out = surrogate(jnp.abs(e) - threshold) * e
    return SigmaDeltaState(v=v, sent=state.sent + out), out
