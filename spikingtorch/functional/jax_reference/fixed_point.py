"""Neurons with membranes of whole numbers: IF, LIF, and LIF behind an exponential synapse."""

from typing import NamedTuple

import jax

from spikingtorch.functional.jax_reference.closed_forms import Sigmoid
from spikingtorch.functional.jax_reference.firing import SpikeFunction, fire
from spikingtorch.functional.jax_reference.reset import Reset, to_zero
from spikingtorch.functional.jax_reference.rounding import FixedPoint
from spikingtorch.functional.jax_reference.spike import Parameter

__all__ = ["FixedPointCubaLIFState", "FixedPointIFState", "FixedPointLIFState", "fixed_point_cuba_lif_step"]
__all__ += ["fixed_point_if_step", "fixed_point_lif_step"]


class FixedPointIFState(NamedTuple):
    """Membrane v after the reset, shape (*N,)."""

    v: jax.Array


class FixedPointLIFState(NamedTuple):
    """Membrane v after the reset, shape (*N,)."""

    v: jax.Array


class FixedPointCubaLIFState(NamedTuple):
    """Membrane v after the reset and synaptic current i, each of shape (*N,)."""

    v: jax.Array
    i: jax.Array


def fixed_point_if_step(
    state: FixedPointIFState,
    x: jax.Array,
    *,
    grid: FixedPoint = FixedPoint(),
    threshold: Parameter = 1.0,
    surrogate: SpikeFunction = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[FixedPointIFState, jax.Array]:
    """Advance an integrate-and-fire neuron by one step, in whole numbers of 2^-n.

    u[t] = O(v[t-1] + R(x[t])), O(y) within the range and R(y) on the grid
    s[t] = H(u[t] - threshold)
    v[t] = O(reset(u[t], s[t], threshold))
    """
    u = grid.limited(state.v + grid.rounded(x))
    fired = fire(u, threshold, surrogate, reset)
    return FixedPointIFState(v=grid.limited(fired.v)), fired.out


def fixed_point_lif_step(
    state: FixedPointLIFState,
    x: jax.Array,
    *,
    decay: Parameter,
    grid: FixedPoint = FixedPoint(),
    threshold: Parameter = 1.0,
    surrogate: SpikeFunction = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[FixedPointLIFState, jax.Array]:
    """Advance a leaky integrate-and-fire neuron by one step, in whole numbers of 2^-n.

    u[t] = O(R(decay v[t-1]) + R(x[t])), O(y) within the range and R(y) on the grid
    s[t] = H(u[t] - threshold)
    v[t] = O(reset(u[t], s[t], threshold))
    """
    u = grid.limited(grid.scaled(state.v, decay) + grid.rounded(x))
    fired = fire(u, threshold, surrogate, reset)
    return FixedPointLIFState(v=grid.limited(fired.v)), fired.out


def fixed_point_cuba_lif_step(
    state: FixedPointCubaLIFState,
    x: jax.Array,
    *,
    decay_syn: Parameter,
    decay: Parameter,
    grid: FixedPoint = FixedPoint(),
    threshold: Parameter = 1.0,
    surrogate: SpikeFunction = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[FixedPointCubaLIFState, jax.Array]:
    """Advance a leaky integrate-and-fire neuron behind an exponential synapse by one step, in whole numbers of 2^-n.

    i[t] = O(R(decay_syn i[t-1]) + R(x[t])), O(y) within the range and R(y) on the grid
    u[t] = O(R(decay v[t-1]) + i[t])
    s[t] = H(u[t] - threshold)
    v[t] = O(reset(u[t], s[t], threshold))
    """
    i = grid.limited(grid.scaled(state.i, decay_syn) + grid.rounded(x))
    u = grid.limited(grid.scaled(state.v, decay) + i)
    fired = fire(u, threshold, surrogate, reset)
    return FixedPointCubaLIFState(v=grid.limited(fired.v), i=i), fired.out
