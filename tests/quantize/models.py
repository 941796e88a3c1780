"""Networks for integers: layers on a grid, and random networks of every kind of node, by way of networks in torch."""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from spikingtorch.quantize import IntegerError, IntegerModel, to_integer
from tests.quantize.float_networks import F32, build, real
from tests.quantize.random_chips import draw_chain
from tests.quantize.random_networks import draw


def random_model(seed: int) -> tuple[IntegerModel, Any]:
    """Return a network, every second one with a layer of a chip, and an input in whole numbers, (N, T, ...).

    Where sums may be too large, or a neuron overflows that must not, they are those of a later seed.
    """
    network = draw_chain(seed // 2) if seed % 2 else draw(seed)
    x = real(network.x, network.input_exponent, F32)
    try:
        integer = to_integer(build(network, mode="step", warn_silent=False), x)
        integer.run(x)
    except (IntegerError, ValueError, OverflowError):
        return random_model(seed + 1000)
    return integer, integer.whole_input(x)


Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


def on_grid(layer: Layer, bits: int, scaled: bool = True) -> Layer:
    """Return a layer with weights of so many bits, which are enlarged first so that neurons fire."""
    with torch.no_grad():
        for each in layer.parameters():
            each.mul_(3.0 if scaled else 1.0)
            unit = 2.0 ** torch.ceil(torch.log2(layer.weight.abs().max())) / 2 ** (bits - 1)
            each.copy_((each / unit).round().clamp(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1) - 1) * unit)
    return layer


def spikes(*shape: int) -> Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(0)) < 0.5).float()
