"""Neurons that compute with whole numbers, as microcontrollers and neuromorphic chips do: IF, LIF and CubaLIF."""

from typing import NamedTuple

from torch import Tensor

from spikingtorch.functional.firing import fire
from spikingtorch.functional.reset import Reset, to_zero
from spikingtorch.functional.rounding import FixedPoint
from spikingtorch.functional.spike import Surrogate
from spikingtorch.functional.surrogate import Sigmoid

__all__ = ["FixedPointCubaLIFState", "FixedPointIFState", "FixedPointLIFState", "fixed_point_cuba_lif_step"]
__all__ += ["fixed_point_if_step", "fixed_point_lif_step"]


class FixedPointIFState(NamedTuple):
    """State of ``fixed_point_if_step``: v, the membrane after the reset."""

    v: Tensor


def fixed_point_if_step(
    state: FixedPointIFState,
    x: Tensor,
    *,
    grid: FixedPoint = FixedPoint(),
    threshold: Tensor | float = 1.0,
    surrogate: Surrogate = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[FixedPointIFState, Tensor]:
    """Advance an integrate-and-fire neuron with a membrane of whole numbers by one step.

        u[t] = O(v[t-1] + R(x[t]))
        s[t] = H(u[t] - threshold)              H(0) = 1
        v[t] = O(reset(u[t], s[t], threshold))

    R and O are those of ``fixed_point_lif_step``, and so are the arguments.

    Returns:
        The state v[t] and the spikes s[t], each of shape (*N,).

    >>> import torch
    >>> state = FixedPointIFState(v=torch.tensor([0.25, 0.25]))
    >>> fixed_point_if_step(state, torch.tensor([0.3, 0.75]), grid=FixedPoint(fraction_bits=2, membrane_bits=4))
    (FixedPointIFState(v=tensor([0.5000, 0.0000])), tensor([0., 1.]))
    """
    u = grid.limited(state.v + grid.rounded(x))
    v, out, _, _ = fire(u, threshold, surrogate, reset)
    return FixedPointIFState(v=grid.limited(v)), out


class FixedPointLIFState(NamedTuple):
    """State of ``fixed_point_lif_step``: v, the membrane after the reset."""

    v: Tensor


def fixed_point_lif_step(
    state: FixedPointLIFState,
    x: Tensor,
    *,
    decay: Tensor | float,
    grid: FixedPoint = FixedPoint(),
    threshold: Tensor | float = 1.0,
    surrogate: Surrogate = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[FixedPointLIFState, Tensor]:
    """Advance a leaky integrate-and-fire neuron with a membrane of whole numbers by one step.

        u[t] = O(R(decay v[t-1]) + R(x[t]))
        s[t] = H(u[t] - threshold)              H(0) = 1
        v[t] = O(reset(u[t], s[t], threshold))

    R rounds to the grid of the membrane, multiples of 2^-n, and O is the rule for what leaves its range of B bits. The
    float32 numbers are what integers give if all sums are below 2^24 units of the grid. Gradients pass R unchanged.

    Args:
        state: v[t-1], on the grid, shape (*N,).
        x: input current of this step, shape (*N,). R rounds what is off the grid.
        decay: k / 2^m, share of the membrane kept over a step, in [0, 1], broadcastable to (*N,). m is 12 at most; or
            25 - B, if that is more.
        grid: fraction bits n, membrane bits B, R and O.
        threshold: membrane at which the neuron fires, on the grid, broadcastable to (*N,).
        surrogate: spike function.
        reset: what a spike does to the membrane; a value that it sets is on the grid.

    Returns:
        The state v[t] and the spikes s[t], each of shape (*N,).

    Source: B. Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only
    inference", CVPR 2018, doi:10.1109/CVPR.2018.00286, of the arithmetic; Y. Bengio, N. Leonard, A. Courville,
    arXiv:1308.3432, of straight-through gradients.

    >>> import torch
    >>> state = FixedPointLIFState(v=torch.tensor([0.75, -0.75]))
    >>> fixed_point_lif_step(state, torch.zeros(2), decay=0.5, grid=FixedPoint(fraction_bits=2, membrane_bits=4))
    (FixedPointLIFState(v=tensor([ 0.2500, -0.5000])), tensor([0., 0.]))
    """
    u = grid.limited(grid.scaled(state.v, decay) + grid.rounded(x))
    v, out, _, _ = fire(u, threshold, surrogate, reset)
    return FixedPointLIFState(v=grid.limited(v)), out


class FixedPointCubaLIFState(NamedTuple):
    """State of ``fixed_point_cuba_lif_step``: v, the membrane after the reset, and i, the synaptic current."""

    v: Tensor
    i: Tensor


def fixed_point_cuba_lif_step(
    state: FixedPointCubaLIFState,
    x: Tensor,
    *,
    decay_syn: Tensor | float,
    decay: Tensor | float,
    grid: FixedPoint = FixedPoint(),
    threshold: Tensor | float = 1.0,
    surrogate: Surrogate = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[FixedPointCubaLIFState, Tensor]:
    """Advance a current-based LIF neuron with whole numbers for its current and its membrane by one step.

        i[t] = O(R(decay_syn i[t-1]) + R(x[t]))
        u[t] = O(R(decay v[t-1]) + i[t])
        s[t] = H(u[t] - threshold)              H(0) = 1
        v[t] = O(reset(u[t], s[t], threshold))

    ``decay_syn`` is the share of the current kept over a step, a number k / 2^m like ``decay``. R and O, and the other
    arguments, are those of ``fixed_point_lif_step``. The state has v[t-1] and i[t-1], on the grid.

    Returns:
        The state v[t], i[t] and the spikes s[t], each of shape (*N,).
    """
    i = grid.limited(grid.scaled(state.i, decay_syn) + grid.rounded(x))
    u = grid.limited(grid.scaled(state.v, decay) + i)
    v, out, _, _ = fire(u, threshold, surrogate, reset)
    return FixedPointCubaLIFState(v=grid.limited(v), i=i), out
