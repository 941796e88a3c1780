"""A step for batches in which some samples have ended, and the state that these keep."""

from typing import Any

from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.recorded import records_inside
from spikingtorch.layers.base import Memory


def masked(step: Any) -> Any:
    """Return the step for a batch in which some samples have ended."""
    step = records_inside(step)
    if isinstance(step, F.Recurrent):
        neuron: Any = F.Masked(step.step)
        return F.Recurrent(neuron, step.synapse)
    return F.Masked(step)


def held(memory: Memory, state: Any, output: Any, s: Any, running: Tensor) -> tuple[Any, Any]:
    """Return state and last output after some steps; samples without a step keep those from before.

    Args:
        memory: before the steps.
        state: after them.
        output: output of each sample's last step.
        s: the same, in full precision.
        running: which samples had a step, (N,).
    """
    if isinstance(state, F.RecurrentState):
        state = state._replace(s=F.reset_where(running, memory.state.s, s))
    return state, output if memory.output is None else F.reset_where(running, memory.output, output)
