"""The memoryless binary neuron."""

from typing import NamedTuple

from torch import Tensor

from spikingtorch.functional.firing import fire
from spikingtorch.functional.reset import none
from spikingtorch.functional.spike import Surrogate
from spikingtorch.functional.surrogate import Sigmoid


class McPittsState(NamedTuple):
    """State of ``mcpitts_step``: nothing, the neuron has no memory."""


def mcpitts_step(
    state: McPittsState,
    x: Tensor,
    *,
    threshold: Tensor | float,
    surrogate: Surrogate = Sigmoid(beta=3.0),
) -> tuple[McPittsState, Tensor]:
    """Evaluate a McCulloch-Pitts neuron.

        s[t] = H(x[t] - threshold)              H(0) = 1

    Args:
        state: an empty tuple, handed through, so that the neuron scans like every other.
        x: input of this step, shape (*N,).
        threshold: input at which the neuron fires, broadcastable to (*N,).
        surrogate: spike function.

    Returns:
        The empty state and the spikes s[t], shape (*N,).

    Source: W. S. McCulloch, W. Pitts, Bull. Math. Biophys. 5 (1943), doi:10.1007/BF02478259.
    """
    return state, fire(x, threshold, surrogate, none).out
