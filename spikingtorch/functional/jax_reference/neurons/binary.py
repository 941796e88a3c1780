"""The McCulloch-Pitts neuron, which has no memory."""

from typing import NamedTuple

import jax

from spikingtorch.functional.jax_reference.spike import Parameter
from spikingtorch.functional.jax_reference.surrogate import Sigmoid, Surrogate


class McPittsState(NamedTuple):
    """No memory: an empty state."""


def mcpitts_step(
    state: McPittsState,
    x: jax.Array,
    *,
    threshold: Parameter,
    surrogate: Surrogate = Sigmoid(beta=3.0),
) -> tuple[McPittsState, jax.Array]:
    """Advance a McCulloch-Pitts neuron by one step.

        s[t] = H(x[t] - threshold)

    Args:
        state: empty, handed through.
        x: input, shape (*N,).
        threshold: in units of x, broadcasting to (*N,).
        surrogate: H, and its gradient.

    Returns:
        The state, and the spike s[t] of shape (*N,).
    """
    return state, surrogate(x - threshold)
