"""The networks: their weights, and the spikes that go into them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from benchmarks.case import Size
from benchmarks.inputs import DECAY
from benchmarks.networks import spikes
from benchmarks.workloads import DEEP, DIGITS, LINEAR

# what stands before each layer of neurons: a convolution, a linear layer, a pool in front of one of them
Synapses: TypeAlias = Sequence[nn.Module]


class Architecture(NamedTuple):
    """A chain of synapses with a layer of neurons behind each.

    Args:
        build: makes the synapses for a size, with torch's own initialisation.
        gain: factor on all weights. As torch initialises them, the deeper neurons are silent; with the gain, those of
            every layer spike in 4 % to 21 % of the steps.
        decay: of all neurons; one for integrate-and-fire.
        draw: from a size and the number of a batch to spikes (T, B, ...) and classes (B,).
    """

    build: Callable[[Size], Synapses]
    gain: float
    decay: float
    draw: Callable[[Size, int], tuple[Tensor, Tensor]]

    def synapses(self, size: Size) -> Synapses:
        """Return the synapses, with the same weights at every call."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            made = self.build(size)
        with torch.no_grad():
            for weight in nn.ModuleList(made).parameters():
                weight.mul_(self.gain)
        return made


def _tutorial(_: Size) -> Synapses:
    """Return those of the tutorial's network, which examples/if_mnist.py has as well."""
    readout = nn.Sequential(nn.Flatten(), nn.Linear(600, 10, bias=False))
    return [nn.Conv2d(1, 4, 4, stride=2), nn.Conv2d(4, 6, 4), readout]


def _square(size: Size) -> Synapses:
    return [nn.Linear(size.N, size.N, bias=False)]


def _vgg(_: Size) -> Synapses:
    """Return five convolutions and a linear layer; the last pool takes images of any size."""

    def conv(ins: int, outs: int) -> nn.Module:
        return nn.Conv2d(ins, outs, 3, padding=1)

    return [
        conv(3, 64),
        conv(64, 64),
        nn.Sequential(nn.MaxPool2d(2), conv(64, 128)),
        conv(128, 128),
        nn.Sequential(nn.MaxPool2d(2), conv(128, 256)),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10)),
    ]


ARCHITECTURES = {
    DIGITS: Architecture(_tutorial, 3.0, 1.0, spikes.of_digits),
    LINEAR: Architecture(_square, 4.0, DECAY, spikes.sparse),
    DEEP: Architecture(_vgg, 3.0, DECAY, spikes.of_noise),
}
