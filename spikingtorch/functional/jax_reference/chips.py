"""Neurons of chips: Xylo, Loihi and Speck, in whole numbers of 2^-n."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from spikingtorch.functional.jax_reference.closed_forms import Sigmoid
from spikingtorch.functional.jax_reference.firing import SpikeFunction, Strict, meets
from spikingtorch.functional.jax_reference.rounding import FixedPoint, round_trunc, wrap
from spikingtorch.functional.jax_reference.spike import Parameter

__all__ = ["LoihiLIFState", "SpeckIAFState", "XyloLIFState", "loihi_lif_step", "speck_iaf_step", "xylo_lif_step"]


class XyloLIFState(NamedTuple):
    """Membrane v after the spikes and synaptic current i, each of shape (*N,)."""

    v: jax.Array
    i: jax.Array


class LoihiLIFState(NamedTuple):
    """Membrane v after the reset and synaptic current i, each of shape (*N,)."""

    v: jax.Array
    i: jax.Array


class SpeckIAFState(NamedTuple):
    """Membrane v after the spikes, shape (*N,)."""

    v: jax.Array


def xylo_lif_step(
    state: XyloLIFState,
    x: jax.Array,
    *,
    leak_syn: Parameter,
    leak: Parameter,
    threshold: Parameter = 1.0,
    bias: Parameter = 0.0,
    most_spikes: int = 31,
    grid: FixedPoint = FixedPoint(),
    surrogate: SpikeFunction = Sigmoid(beta=5.0),
) -> tuple[XyloLIFState, jax.Array]:
    """Advance a neuron of Xylo by one step.

    j[t] = O(i[t-1] + R(x[t])) and i[t] = j[t] - L(leak_syn j[t])
    u[t] = O(v[t-1] + O(O(i[t] - L(leak v[t-1])) + bias))
    s[t] = floor(u[t] / threshold), from 0 to most_spikes
    v[t] = u[t] - s[t] threshold
    L(y) is y rounded down to a multiple of 2^-n; in place of 0, it is the unit next to 0 on the side of y.
    """
    j = grid.limited(state.i + grid.rounded(x))
    i = j - _leaked(j, leak_syn, grid.lsb)
    change = grid.limited(grid.limited(i - _leaked(state.v, leak, grid.lsb)) + bias)
    u = grid.limited(state.v + change)
    meets(u, threshold, surrogate)
    s = _count(u, threshold, surrogate, most_spikes)
    return XyloLIFState(v=u - s * threshold, i=i), s


def loihi_lif_step(
    state: LoihiLIFState,
    x: jax.Array,
    *,
    decay_syn: Parameter,
    decay: Parameter,
    threshold: Parameter = 1.0,
    bias: Parameter = 0.0,
    grid: FixedPoint = FixedPoint(12, 24, round_trunc),
    surrogate: SpikeFunction = Sigmoid(beta=5.0),
) -> tuple[LoihiLIFState, jax.Array]:
    """Advance a neuron of Loihi by one step.

    i[t] = W(R(decay_syn i[t-1]) + Q(x[t])), R(y) a multiple of 2^-n and Q(y) of 2^(6-n), W(y) from -2^23 to 2^23 units
    u[t] = C(R(decay v[t-1]) + i[t] + bias), C(y) within 2^23 - 1 units
    s[t] = 1 where u[t] > threshold, else 0
    v[t] = u[t] (1 - s[t])
    """
    inputs = FixedPoint(grid.fraction_bits - 6, grid.membrane_bits, grid.rounding).rounded(x)
    i = -wrap(-(grid.scaled(state.i, decay_syn) + inputs), grid.low, grid.high)
    w = grid.scaled(state.v, decay) + i + bias
    u = jnp.where(w > grid.high, grid.high, jnp.where(w < -grid.high, -grid.high, w))
    meets(u, threshold, surrogate)
    s = Strict(surrogate)(u - threshold)
    return LoihiLIFState(v=u * (1 - s), i=i), s


def speck_iaf_step(
    state: SpeckIAFState,
    x: jax.Array,
    *,
    threshold: Parameter = 1.0,
    v_min: Parameter = -1.0,
    grid: FixedPoint = FixedPoint(),
    surrogate: SpikeFunction = Sigmoid(beta=5.0),
) -> tuple[SpeckIAFState, jax.Array]:
    """Advance a neuron of Speck by one step.

    u[t] = v[t-1] + R(x[t]), R(y) a multiple of 2^-n
    s[t] = floor(u[t] / threshold), at least 0
    v[t] = max(u[t] - s[t] threshold, v_min)
    """
    u = state.v + grid.rounded(x)
    meets(u, threshold, surrogate)
    s = _count(u, threshold, surrogate, None)
    rest = u - s * threshold
    return SpeckIAFState(v=jnp.where(rest >= v_min, rest, v_min)), s


def _leaked(v: jax.Array, leak: Parameter, lsb: float) -> jax.Array:
    """Return v leak, rounded down to a multiple of lsb, or the lsb on the side of v; its gradient is leak."""
    hold = jax.lax.stop_gradient
    whole = jnp.floor(v * leak / lsb)
    # Below zero, the floor is -1 at most.
    least = jnp.where((v > 0) & (whole < 1), 1, whole)
    return hold(least * lsb) + (v * leak - hold(v * leak))


def _count(u: jax.Array, threshold: Parameter, surrogate: SpikeFunction, most: int | None) -> jax.Array:
    """Return the number of thresholds in u, from 0 to most.

    Its derivative is phi'(y), y = u - threshold m the distance from the nearest multiple, whose index m from 1 to most
    is held constant.
    """
    hold = jax.lax.stop_gradient
    limit = jnp.inf if most is None else most
    m = hold(jnp.minimum(jnp.maximum(jnp.round(u / threshold), 1), limit))
    phi = surrogate(u - threshold * m)
    n = jnp.floor(u / threshold)
    rest = u - n * threshold
    n = n + jnp.where(rest < 0, -1, jnp.where(rest >= threshold, 1, 0))
    # The last bracket is exactly zero: it adds only its derivative.
    return hold(jnp.minimum(jnp.maximum(n, 0), limit)) + (phi - hold(phi))
