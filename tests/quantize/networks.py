"""Layers on a grid, for integers."""

from typing import TypeVar

import torch
from torch import nn

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


def on_grid(layer: Layer, bits: int, scaled: bool = True) -> Layer:
    """Return a layer with weights of so many bits, which are enlarged first so that neurons fire."""
    with torch.no_grad():
        for each in layer.parameters():
            each.mul_(3.0 if scaled else 1.0)
            unit = 2.0 ** torch.ceil(torch.log2(layer.weight.abs().max())) / 2 ** (bits - 1)
            each.copy_((each / unit).round().clamp(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1) - 1) * unit)
    return layer
