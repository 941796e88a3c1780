"""Neurons of neuromorphic chips, as the public models of these chips compute them: Xylo, Loihi and Speck."""

from typing import NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.firing import Strict, meets, spike_count
from spikingtorch.functional.reset import by_subtraction
from spikingtorch.functional.rounding import FixedPoint, round_trunc, through, wrap
from spikingtorch.functional.spike import Surrogate
from spikingtorch.functional.surrogate import Sigmoid

__all__ = ["LoihiLIFState", "SpeckIAFState", "XyloLIFState", "loihi_lif_step", "speck_iaf_step", "xylo_lif_step"]

# the synaptic inputs of Loihi have 6 bits less after the point than its membrane
_LOIHI_SHIFT = 6


class XyloLIFState(NamedTuple):
    """State of ``xylo_lif_step``: v, the membrane after the spikes, and i, the synaptic current."""

    v: Tensor
    i: Tensor


def xylo_lif_step(
    state: XyloLIFState,
    x: Tensor,
    *,
    leak_syn: Tensor | float,
    leak: Tensor | float,
    threshold: Tensor | float = 1.0,
    bias: Tensor | float = 0.0,
    most_spikes: int = 31,
    grid: FixedPoint = FixedPoint(),
    surrogate: Surrogate = Sigmoid(beta=5.0),
) -> tuple[XyloLIFState, Tensor]:
    """Advance a neuron of Xylo by one step: current and membrane leak by shifts, and it may fire several times.

        j[t] = O(i[t-1] + R(x[t])),  i[t] = j[t] - L(leak_syn j[t])
        u[t] = O(v[t-1] + O(O(i[t] - L(leak v[t-1])) + bias))
        s[t] = min(floor(u[t] / threshold), most_spikes), 0 for a negative u[t]
        v[t] = u[t] - s[t] threshold

    L rounds down to the grid of the membrane, multiples of lsb = 2^-n; where this gives 0, it is one lsb towards zero,
    so that everything but zero decays. R and O are those of ``fixed_point_lif_step``. The chip saturates at each event.
    This step saturates the sum of all events, which is the same if no part of the sum leaves the range.

    Args:
        state: v[t-1] and i[t-1], on the grid, each of shape (*N,).
        x: weighted sum of the events of this step, shape (*N,).
        leak_syn: share of the current that is lost in a step, 2^-dash, broadcastable to (*N,).
        leak: share of the membrane that is lost, likewise.
        threshold: membrane per spike, on the grid and positive, broadcastable to (*N,).
        bias: added to the membrane at each step, on the grid, broadcastable to (*N,).
        most_spikes: in one step; 31 of a hidden neuron, 1 of an output neuron.
        grid: fraction bits; Xylo has 16 bits, and saturates.
        surrogate: a plain spike function; spikes have its derivative at the nearest multiple of the threshold.

    Returns:
        The state v[t], i[t] and the number of spikes s[t], each of shape (*N,).

    Source: the model XyloSim of SynSense, https://pypi.org/project/xylosim, version 0.1.3.
    """
    j = grid.limited(state.i + grid.rounded(x))
    i = j - _lost(j, leak_syn, grid)
    u = grid.limited(state.v + grid.limited(grid.limited(i - _lost(state.v, leak, grid)) + bias))
    meets(u, threshold, surrogate)
    s = spike_count(u, threshold, surrogate, most_spikes)
    return XyloLIFState(v=by_subtraction(u, s, threshold), i=i), s


def _lost(v: Tensor, leak: Tensor | float, grid: FixedPoint) -> Tensor:
    """Return what a shift takes away, at least one lsb, with the gradient of ``v leak``."""
    down = torch.floor(v.detach() / grid.lsb * leak)
    return through(torch.where(down == 0.0, torch.sign(v.detach()), down) * grid.lsb, v * leak)


class LoihiLIFState(NamedTuple):
    """State of ``loihi_lif_step``: v, the membrane after the reset, and i, the synaptic current, u in lava."""

    v: Tensor
    i: Tensor


def loihi_lif_step(
    state: LoihiLIFState,
    x: Tensor,
    *,
    decay_syn: Tensor | float,
    decay: Tensor | float,
    threshold: Tensor | float = 1.0,
    bias: Tensor | float = 0.0,
    grid: FixedPoint = FixedPoint(12, 24, round_trunc),
    surrogate: Surrogate = Sigmoid(beta=5.0),
) -> tuple[LoihiLIFState, Tensor]:
    """Advance a current-based LIF neuron of Loihi by one step, with decays of 12 bits and states of 24.

        i[t] = W(R(decay_syn i[t-1]) + Q(x[t]))
        u[t] = C(R(decay v[t-1]) + i[t] + bias)
        s[t] = 1 where u[t] > threshold, else 0
        v[t] = (1 - s[t]) u[t]

    R rounds towards zero to the grid of the membrane, multiples of lsb = 2^-n, and Q to multiples of 64 lsb, because
    synaptic inputs have 6 bits less. W wraps to (-2^23, 2^23] lsb, and C saturates at +-(2^23 - 1) lsb.

    Args:
        state: v[t-1] and i[t-1], on the grid, each of shape (*N,).
        x: weighted sum of the spikes of this step, shape (*N,).
        decay_syn: share of the current kept over a step, k / 2^12, broadcastable to (*N,).
        decay: share of the membrane kept, likewise.
        threshold: membrane above which the neuron fires, broadcastable to (*N,).
        bias: added to the membrane at each step, on the grid, broadcastable to (*N,).
        grid: fraction bits n; Loihi has 24 bits, and rounds towards zero.
        surrogate: a plain spike function.

    Returns:
        The state v[t], i[t] and the spikes s[t], each of shape (*N,).

    Source: the bit-accurate LIF of lava-nc, https://github.com/lava-nc/lava; M. Davies et al., "Loihi: a neuromorphic
    manycore processor with on-chip learning", IEEE Micro 38 (2018), doi:10.1109/MM.2018.112130359.
    """
    coarse = grid._replace(fraction_bits=grid.fraction_bits - _LOIHI_SHIFT)
    # the range of two's complement, turned over: its greatest number is 2^23
    i = -wrap(-(grid.scaled(state.i, decay_syn) + coarse.rounded(x)), grid.low, grid.high)
    u = (grid.scaled(state.v, decay) + i + bias).clamp(-grid.high, grid.high)
    meets(u, threshold, surrogate)
    s = Strict(surrogate)(u - threshold)
    return LoihiLIFState(v=(1.0 - s) * u, i=i), s


class SpeckIAFState(NamedTuple):
    """State of ``speck_iaf_step``: v, the membrane after the spikes."""

    v: Tensor


def speck_iaf_step(
    state: SpeckIAFState,
    x: Tensor,
    *,
    threshold: Tensor | float = 1.0,
    v_min: Tensor | float = -1.0,
    grid: FixedPoint = FixedPoint(),
    surrogate: Surrogate = Sigmoid(beta=5.0),
) -> tuple[SpeckIAFState, Tensor]:
    """Advance an integrate-and-fire neuron of Speck by one step: it fires once for each threshold that fits.

        u[t] = v[t-1] + R(x[t])
        s[t] = floor(u[t] / threshold), 0 for a negative u[t]
        v[t] = max(u[t] - s[t] threshold, v_min)

    The membrane has no upper limit, because spikes take it below the threshold.

    Args:
        state: v[t-1], on the grid, shape (*N,).
        x: weighted sum of the events of this step, shape (*N,). R rounds what is off the grid.
        threshold: membrane per spike, on the grid and positive, broadcastable to (*N,).
        v_min: the least membrane, on the grid, broadcastable to (*N,).
        grid: fraction bits and R.
        surrogate: a plain spike function, as in ``xylo_lif_step``.

    Returns:
        The state v[t] and the number of spikes s[t], each of shape (*N,).

    Source: the discretised IAF of Sinabs, https://sinabs.readthedocs.io, for the chips Speck and DynapCNN.
    """
    u = state.v + grid.rounded(x)
    meets(u, threshold, surrogate)
    s = spike_count(u, threshold, surrogate)
    v = by_subtraction(u, s, threshold)
    return SpeckIAFState(v=torch.where(v < v_min, v_min, v)), s
