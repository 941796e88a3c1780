"""What a test has to know of an ordinary network."""

from collections.abc import Callable
from typing import NamedTuple

from torch import nn


class Ordinary(NamedTuple):
    """A network as users write it.

    Args:
        make: builds the network, in training mode; one that draws takes ``drop``, how often.
        shape: of one sample at one step.
        out: shape of the output of one sample at one step.
        draws: the network draws random numbers in training, unless ``drop`` is 0.
        mixes: the samples of a batch see each other, by more than the statistics of batch norm.
    """

    make: Callable[..., nn.Module]
    shape: tuple[int, ...]
    out: tuple[int, ...]
    draws: bool = False
    mixes: bool = False
