"""Networks of two convolutions and a linear layer for digits: the tutorial's, and one of whole numbers."""

from collections import OrderedDict

from torch import nn

from spikingtorch.layers import IF, FixedPointLIF
from spikingtorch.quantize import prepare_qat
from spikingtorch.spikingnet import SpikingNet


def digits() -> SpikingNet:
    """Return the network of the tutorial, 6,458 parameters: spikes (N, T, 1, 28, 28) to spikes (N, T, 10).

    Its inputs are the spikes of a ``PoissonEncoder`` for digits in [0, 1]; the class is the neuron that fires most.
    """
    net = OrderedDict[str, nn.Module](
        conv1=nn.Conv2d(1, 4, 4, stride=2),  # 28 x 28 -> 13 x 13
        sl1=IF(),
        conv2=nn.Conv2d(4, 6, 4),  # 13 x 13 -> 10 x 10
        sl2=IF(),
        flat=nn.Flatten(),
        l1=nn.Linear(600, 10, bias=False),
        sl3=IF(),
    )
    return SpikingNet(nn.Sequential(net), 10)


def digits_int4() -> SpikingNet:
    """Return a network of whole numbers, 5,386 parameters: digits (N, T, 1, 28, 28) in [0, 1] to spikes (N, T, 10).

    Inputs and weights have 4 bits, membranes 12, and a membrane keeps 7/8 of itself in a step. ``quantize.to_integer``
    makes integers of it, and C. Its inputs are those of a ``ConstantEncoder``; the class is the neuron that fires most.
    """
    neurons = [FixedPointLIF((7, 3), fraction_bits=7, membrane_bits=12) for _ in range(3)]
    net = OrderedDict[str, nn.Module](
        conv1=nn.Conv2d(1, 8, 5, stride=2),  # 28 x 28 -> 12 x 12
        sl1=neurons[0],
        conv2=nn.Conv2d(8, 16, 3, stride=2),  # 12 x 12 -> 5 x 5
        sl2=neurons[1],
        flat=nn.Flatten(),
        l1=nn.Linear(400, 10),
        sl3=neurons[2],
    )
    return prepare_qat(SpikingNet(nn.Sequential(net), 10), 4, inputs=4)
