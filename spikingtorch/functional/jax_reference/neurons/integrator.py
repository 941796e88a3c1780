"""The integrate-and-fire neuron, without a leak."""

from typing import NamedTuple

import jax

from spikingtorch.functional.jax_reference.firing import SpikeFunction, fire
from spikingtorch.functional.jax_reference.reset import Reset, to_zero
from spikingtorch.functional.jax_reference.spike import Parameter
from spikingtorch.functional.jax_reference.surrogate import Sigmoid


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

    Arguments and returns: those of ``spikingtorch.functional.if_step``.
    """
    u = state.v + x
    fired = fire(u, threshold, surrogate, reset)
    return IFState(v=fired.v), fired.out
