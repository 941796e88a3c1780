"""The McCulloch-Pitts neuron, which has no memory."""

from typing import NamedTuple

import jax

from spikingtorch.functional.jax_reference.firing import SpikeFunction, fire
from spikingtorch.functional.jax_reference.reset import none
from spikingtorch.functional.jax_reference.spike import Parameter
from spikingtorch.functional.jax_reference.surrogate import Sigmoid


class McPittsState(NamedTuple):
    """No memory: an empty state."""


def mcpitts_step(
    state: McPittsState,
    x: jax.Array,
    *,
    threshold: Parameter,
    surrogate: SpikeFunction = Sigmoid(beta=3.0),
) -> tuple[McPittsState, jax.Array]:
    """Advance a McCulloch-Pitts neuron by one step.

        s[t] = H(x[t] - threshold)

    Arguments and returns: those of ``spikingtorch.functional.mcpitts_step``.
    """
    return state, fire(x, threshold, surrogate, none).out
