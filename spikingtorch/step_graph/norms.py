"""Batch norm in evaluation as a part of the weights before it."""

from typing import Any

import torch
from torch import Tensor, nn

from spikingtorch.functional.core.torch_private import AnyBatchNorm
from spikingtorch.layers.time_norm import TimeNorm


def norm_of(module: nn.Module | None) -> tuple[Any, float] | None:
    """Return the batch norm of torch that a module computes in evaluation, and a factor of it; None for others."""
    inner, scale = (module.norm, module.scale) if isinstance(module, TimeNorm) else (module, 1.0)
    return (inner, scale) if isinstance(inner, AnyBatchNorm) else None


@torch.no_grad()
def merge_norm(layer: Any, module: nn.Module | None) -> None:
    """Write a batch norm with running statistics into the weights before it, in place, computed in float64.

        y = g (x - mean) + beta,  g = gamma / sqrt(var + eps),  x = W s + b  becomes  y = (g W) s + g (b - mean) + beta

    The layer, a Linear or convolution whose weights are parameters, gets a bias if it has none.
    """
    found = norm_of(module)
    assert found is not None
    norm, scale = found
    gain = scale / (norm.running_var.double() + norm.eps).sqrt()
    if norm.weight is not None:
        gain = gain * norm.weight.double()
    bias = ((0.0 if layer.bias is None else layer.bias.double()) - norm.running_mean.double()) * gain
    if norm.bias is not None:
        bias = bias + norm.bias.double()
    weight: Tensor = layer.weight
    weight.copy_(weight.double() * gain.reshape((-1,) + (1,) * (weight.ndim - 1)))
    if layer.bias is None:
        layer.bias = nn.Parameter(bias.to(weight), requires_grad=weight.requires_grad)
    else:
        layer.bias.copy_(bias)
