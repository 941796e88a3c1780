"""Spiking layers: the parameters of a neuron, its state, and one call into ``spikingtorch.functional``.

The files::

    base            StatefulLayer: a state that lives between calls
    steplayer       StepLayer: a pure step as a layer, the base class of every layer and of your own
    neurons         IF, LIF, ...; one family per file
    constructor     the constructor of a layer that stores the parameters of its step
    attributes      the parameters of a layer: checked, kept within limits, saved
    limits          the values that parameters may have
    param_maps      from time constants to decays, gains and leaks
    reset_value     reset rules with a value, which is a parameter
    rest            layers whose neurons do not rest at zero
    masking         a step for batches in which some samples have ended
    prepared_scan   the step of a layer with its parameters, kept for the next call
    constants       the values of a layer that are no tensors, in checkpoints
    dropout         SequenceDropout: one mask for all steps
    multi_step      MultiStep: a layer over all steps, time first, outside of a SpikingNet
    inner_keys      a wrapper module with the state dict of the module inside
    options         options of the constructors: two names of a parameter, defaults, warnings
    returns         the values that a call returns besides spikes
    recorder        records of the values that a layer computes besides its output
    error_notes     the path of the layer that raised an error
    recurrent       the weights of a recurrent layer
    frame           a call of a network: the arguments and memories of its layers
    fold_token      all steps of a layer at once: the init that SpikingNet passes to its layers
    checkpoint      calls that torch.utils.checkpoint repeats
    activity        layers that stay silent, or fire at every step
    batch_norm      batch norm in training, folded
    time_norm       batch norms with one statistic over batch and time
    padding         batches of sequences of different lengths
    streams         the state of a whole network, to be saved and restored
    sharded         modules that fully_shard has sharded: views that it must not get, parameters that it lends
    passed_init     init for modules in an nn.Sequential that are called without it
    threads         one thread at a time
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
