"""Spiking layers: the parameters of a neuron, its state, and one call into ``spikingtorch.functional``.

Read ``base`` (a state between two calls), ``frame`` (a call of a network), ``steplayer`` (a pure step as a layer) and
``fold_token`` (all steps at once). The layers are in ``neurons``.
"""

from spikingtorch.layers import neurons
from spikingtorch.layers.dropout import SequenceDropout
from spikingtorch.layers.multi_step import MultiStep
from spikingtorch.layers.neurons import *  # noqa: F403 - the names of its __all__
from spikingtorch.layers.neurons import SpikingLayer
from spikingtorch.layers.time_norm import ThresholdDependentBatchNorm, TimeBatchNorm1d, TimeBatchNorm2d

__all__ = [
    "MultiStep",
    "SequenceDropout",
    "SpikingLayer",
    "ThresholdDependentBatchNorm",
    "TimeBatchNorm1d",
    "TimeBatchNorm2d",
]
__all__ += neurons.__all__
