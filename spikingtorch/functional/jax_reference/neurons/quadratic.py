"""The quadratic integrate-and-fire neuron."""

from typing import NamedTuple

import jax

from spikingtorch.functional.jax_reference.firing import SpikeFunction, fire
from spikingtorch.functional.jax_reference.reset import Reset, to_zero
from spikingtorch.functional.jax_reference.spike import Parameter
from spikingtorch.functional.jax_reference.surrogate import Sigmoid


class QuadraticIFState(NamedTuple):
    """Membrane v after the reset, shape (*N,)."""

    v: jax.Array


def quadratic_if_step(
    state: QuadraticIFState,
    x: jax.Array,
    *,
    leak: Parameter,
    v_rest: Parameter = 0.0,
    v_critical: Parameter = 0.8,
    curvature: Parameter = 1.0,
    threshold: Parameter = 1.0,
    surrogate: SpikeFunction = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[QuadraticIFState, jax.Array]:
    """Advance a quadratic integrate-and-fire neuron by one step of Euler's method.

        u[t] = v[t-1] + leak (curvature (v[t-1] - v_rest) (v[t-1] - v_critical) + x[t])
        s[t] = H(u[t] - threshold)
        v[t] = reset(u[t], s[t], threshold)

    Latham et al., "Intrinsic dynamics in neuronal networks. I. Theory", J. Neurophysiol. 2000,
    doi:10.1152/jn.2000.83.2.808.

    Arguments and returns: those of ``spikingtorch.functional.quadratic_if_step``.
    """
    v = state.v
    u = v + leak * (curvature * (v - v_rest) * (v - v_critical) + x)
    fired = fire(u, threshold, surrogate, reset)
    return QuadraticIFState(v=fired.v), fired.out
