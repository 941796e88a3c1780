"""The neurons of PeriodicEncoder: their input is the same at every step, so no sum is needed."""

from typing import NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.reset import to_zero
from spikingtorch.functional.surrogate import Sigmoid

_surrogate = Sigmoid(beta=5.0)


class PeriodicState(NamedTuple):
    """State of ``periodic_step``: n, the number of steps since the last spike."""

    n: Tensor


def periodic_step(state: PeriodicState, x: Tensor, *, threshold: float) -> tuple[PeriodicState, Tensor]:
    """Advance an integrate-and-fire neuron whose input is the same at every step.

        m[t] = n[t-1] + 1
        s[t] = H(m[t] x - threshold)            H(0) = 1
        n[t] = to_zero(m[t], s[t])

    The membrane m x rounds once. A sum of m inputs would round m times: ten times 0.1 add up to less than 1.

    Args:
        state: n[t-1], shape (*N,).
        x: the input, shape (*N,).
        threshold: membrane at which the neuron fires.

    Returns:
        The state n[t] and the spikes s[t], each of shape (*N,).
    """
    m = state.n + 1.0
    spike = _surrogate(m * x - threshold)
    return PeriodicState(to_zero(m, spike, threshold)), spike


class RegularState(NamedTuple):
    """State of ``regular_step``: n, the number of steps, and k, the number of spikes since the sequence began."""

    n: Tensor
    k: Tensor


def regular_step(state: RegularState, x: Tensor) -> tuple[RegularState, Tensor]:
    """Advance an integrate-and-fire neuron that resets by subtraction and whose input is the same at every step.

        n[t] = n[t-1] + 1
        s[t] = H(n[t] x - k[t-1] - 1)           H(0) = 1
        k[t] = k[t-1] + s[t]

    The membrane n x - k rounds once. A sum would round at every step. So after n steps the neuron has fired floor(n x)
    times, for x in [0, 1].

    Args:
        state: n[t-1] and k[t-1], each of shape (*N,).
        x: the input, shape (*N,).

    Returns:
        The state at t and the spikes s[t], of shape (*N,).
    """
    n = state.n + 1.0
    spike = _surrogate(n * x - state.k - 1.0)
    return RegularState(n, state.k + spike), spike


def firing_threshold(dtype: torch.dtype) -> float:
    """Return 1 minus a few units in the last place: inputs of 1 / n and ``scale x`` may be rounded by as much."""
    return 1.0 - 4.0 * torch.finfo(dtype).eps
