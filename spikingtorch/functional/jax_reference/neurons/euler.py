"""The leaky neuron as one step of Euler's method, whose leak may be learned."""

from typing import NamedTuple

import jax

from spikingtorch.functional.jax_reference.firing import SpikeFunction, fire
from spikingtorch.functional.jax_reference.reset import Reset, to_zero
from spikingtorch.functional.jax_reference.spike import Parameter
from spikingtorch.functional.jax_reference.surrogate import Sigmoid


class EulerLIFState(NamedTuple):
    """Membrane v after the reset, shape (*N,)."""

    v: jax.Array


def leak_from_w(w: Parameter) -> jax.Array:
    """Return 1 / (1 + exp(-w)), the leak that a learnable w without limits stands for."""
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

    With leak = leak_from_w(w) it is the parametric LIF neuron of Fang et al., "Incorporating learnable membrane time
    constant to enhance learning of spiking neural networks", ICCV 2021, doi:10.1109/ICCV48922.2021.00266.

    Arguments and returns: those of ``spikingtorch.functional.euler_lif_step``.
    """
    u = state.v + leak * (x - (state.v - v_rest))
    fired = fire(u, threshold, surrogate, reset)
    return EulerLIFState(v=fired.v), fired.out
