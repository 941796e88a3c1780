"""The leaky neuron whose threshold adapts to its spikes."""

from typing import NamedTuple

import jax

from spikingtorch.functional.jax_reference.closed_forms import Sigmoid
from spikingtorch.functional.jax_reference.firing import SpikeFunction, fire
from spikingtorch.functional.jax_reference.reset import Reset, by_subtraction
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
