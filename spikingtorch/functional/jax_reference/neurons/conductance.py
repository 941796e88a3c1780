"""The BioLIF neuron, whose inputs are conductances."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from spikingtorch.functional.jax_reference.firing import SpikeFunction, fire
from spikingtorch.functional.jax_reference.reset import Reset, to_zero
from spikingtorch.functional.jax_reference.spike import Parameter
from spikingtorch.functional.jax_reference.surrogate import Sigmoid


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

    Arguments and returns: those of ``spikingtorch.functional.biolif_step``.
    """
    xe, xi = x
    nu = 1 + xe + xi
    a = jax.lax.stop_gradient(jnp.exp(-nudt * nu))
    u = a * state.v + (xe / nu) * (1 - a)
    fired = fire(u, threshold, surrogate, reset)
    return BioLIFState(v=fired.v), fired.out
