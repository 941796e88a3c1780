"""The leaky neuron that spikes with a probability."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from spikingtorch.functional.jax_reference.closed_forms import Sigmoid
from spikingtorch.functional.jax_reference.firing import meets
from spikingtorch.functional.jax_reference.reset import Reset, to_zero
from spikingtorch.functional.jax_reference.spike import Parameter, spike
from spikingtorch.functional.jax_reference.surrogate import Smooth


class StochasticLIFState(NamedTuple):
    """Membrane v after the reset, shape (*N,)."""

    v: jax.Array


class StochasticInput(NamedTuple):
    """Input current, and noise drawn uniformly from [0, 1), each of shape (*N,)."""

    current: jax.Array
    noise: jax.Array


def stochastic_lif_step(
    state: StochasticLIFState,
    x: StochasticInput,
    *,
    decay: Parameter,
    gain: Parameter = 1.0,
    threshold: Parameter = 1.0,
    surrogate: Smooth = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[StochasticLIFState, jax.Array]:
    """Advance a leaky neuron with escape noise by one step.

    u[t] = decay v[t-1] + gain current[t]
    p    = phi(u[t] - threshold)
    s[t] = 1 where noise[t] < p, else 0, differentiated as p
    v[t] = reset(u[t], s[t], threshold)
    """
    current, noise = x
    u = decay * state.v + gain * current
    p = surrogate.primitive(u - threshold)
    meets(u, threshold, surrogate)
    s = spike(jnp.where(noise < p, 1.0, -1.0).astype(p.dtype), (p,), (1.0,))
    return StochasticLIFState(v=reset(u, s, threshold)), s
