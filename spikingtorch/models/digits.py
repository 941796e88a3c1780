"""The tutorial's network: two convolutions and a linear layer, each followed by integrate-and-fire neurons."""

from collections import OrderedDict

from torch import nn

from spikingtorch.layers import IF
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
