"""The neuron behind PeriodicEncoder."""

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

    The membrane m x rounds once, where a sum of m inputs rounds m times: ten times 0.1 add up to less than 1.

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


def firing_threshold(dtype: torch.dtype) -> float:
    """Return 1 less a few units in the last place, by which an input of 1 / n and ``scale x`` may have rounded."""
    return 1.0 - 4.0 * torch.finfo(dtype).eps
