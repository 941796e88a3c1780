"""Spiking layers: the parameters of a neuron, its state, and one call into ``spikingtorch.functional``.

base            StatefulLayer: a state that lives between calls, and whose it is
steplayer       StepLayer: a pure step as a layer, the base of every one and the way to make your own
neurons         IF, LIF, ...; one family a file
constructor     the constructor of a layer that stores the parameters of its step
attributes      the parameters of a layer: checked, within limits, saved
limits          what parameters may be, and where those that learn are kept
param_maps      from time constants to decays, gains and leaks
reset_value     rules that reset to a value, which is a parameter
rest            layers that start elsewhere than at zero
masking         a step for samples of which some have come to their end
prepared_scan   the step of a layer with its parameters, kept for the next call
constants       what is no tensor, in checkpoints
dropout         SequenceDropout: one mask for all steps
multi_step      MultiStep: a layer over all steps, time first, outside of a SpikingNet
inner_keys      a module around another one, with that one's keys in its state dict
options         options of the constructors: two names of a parameter, defaults, warnings
returns         what a call returns besides spikes
recorder        what a layer gives out besides its output, recorded
error_notes     the path of the layer that has raised an error
recurrent       the weights of a recurrent layer
frame           a call of a network: what its layers are told, and what they remember until it ends
fold_token      all steps of a layer at once: the token that SpikingNet hands to its layers
checkpoint      a call that torch.utils.checkpoint repeats
activity        layers that stay silent, or fire at every step
batch_norm      batch norm in training, folded
time_norm       batch norms with one statistic over batch and time
padding         batches of sequences of different lengths
streams         the state of a whole network, to be kept and set
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
