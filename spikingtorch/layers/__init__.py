"""Spiking layers: the parameters of a neuron, its state, and one call into ``spikingtorch.functional``.

Begin with ``base``, a state between two calls, and ``steplayer``, a pure step as a layer. ``frame`` is a call of a
network, and ``fold_token`` stands for all steps at once. The layers are in ``neurons``.
"""

from spikingtorch.layers import neurons
from spikingtorch.layers.delayed import DelayedLinear
from spikingtorch.layers.delayed_recurrence import DelayedRecurrence
from spikingtorch.layers.dropout import SequenceDropout
from spikingtorch.layers.multi_step import MultiStep
from spikingtorch.layers.neurons import *  # noqa: F403 - the names of its __all__
from spikingtorch.layers.neurons import SpikingLayer
from spikingtorch.layers.time_norm import ThresholdDependentBatchNorm, TimeBatchNorm1d, TimeBatchNorm2d

__all__ = ["MultiStep", "SequenceDropout", "SpikingLayer", "ThresholdDependentBatchNorm"]
__all__ += ["DelayedLinear", "DelayedRecurrence", "TimeBatchNorm1d", "TimeBatchNorm2d", *neurons.__all__]


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
