"""The step of SpikingJelly's SynapseFilter, in its order of operations."""

from typing import NamedTuple

from torch import Tensor


class FilterState(NamedTuple):
    """State of ``synapse_filter_step``: i, the current."""

    i: Tensor


def synapse_filter_step(state: FilterState, x: Tensor, *, rate: Tensor | float) -> tuple[FilterState, Tensor]:
    """Advance a SynapseFilter, a current that decays where there is no spike, by one step.

        i[t] = i[t-1] - (1 - x[t]) i[t-1] rate + x[t]

    Args:
        state: i[t-1], shape (*N,).
        x: spikes of this step, shape (*N,).
        rate: inverse of the time constant, broadcastable to (*N,).

    Returns:
        The state i[t] and i[t], each of shape (*N,).
    """
    i = state.i - (1.0 - x) * state.i * rate + x
    return FilterState(i=i), i
