"""Weights as whole numbers, and the bounds of their sums."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikingtorch.quantize.errors import IntegerError
from spikingtorch.quantize.grid import exponent_of, whole_numbers
from spikingtorch.quantize.nodes import Conv2d, Ints

# whole numbers of more bits are floats that were never rounded
_WEIGHT_BITS = 16


def weights_of(path: str, weight: Tensor, bias: Tensor | None, arriving: int) -> tuple[Ints, Ints, int]:
    """Return weights and bias as whole numbers, and the exponent of their sums.

    Raises:
        IntegerError: they are on no grid of few bits.
    """
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and not bool(tensor.isfinite().all()):
            raise IntegerError(path, "grid", f"its {name} holds NaN or infinities, which are no whole numbers")
    own = exponent_of(weight)
    bits = _bits(weight, own)
    if bias is not None and bool(bias.any()):
        own = max(own, exponent_of(bias) - arriving)
    aligned = max(_bits(weight, own), 0 if bias is None else _bits(bias, own + arriving))
    if bits > _WEIGHT_BITS or aligned > 31:
        raise IntegerError(
            path,
            "grid",
            f"its weights are whole numbers of {bits} bits times a power of two, and with the bias in one unit of "
            f"{aligned}; {_WEIGHT_BITS} and 31 are the most. Round them: prepare_qat(model) before training, "
            "quantize(model, data) after it",
            float(bits),
        )
    whole = _small(whole_numbers(weight, own))
    if bias is None:
        return whole, np.zeros(len(whole), np.int32), own + arriving
    return whole, whole_numbers(bias, own + arriving).cpu().numpy().astype(np.int32), own + arriving


def _bits(tensor: Tensor, exponent: int) -> int:
    """Return the bits, with a sign, of a tensor times 2**exponent."""
    if not tensor.numel():
        return 1
    low, high = (float(edge) * 2.0**exponent for edge in torch.aminmax(tensor.detach().double()))
    return 1 + max(math.ceil(math.log2(max(-low, 1.0))), math.ceil(math.log2(max(high, 0.0) + 1.0)))


def _small(whole: Tensor) -> Ints:
    array: Ints = whole.cpu().numpy()
    kind = next(kind for kind in (np.int8, np.int16, np.int32) if not array.size or _fits(array, kind))
    return array.astype(kind)


def _fits(array: Ints, kind: Any) -> bool:
    return bool(array.min() >= np.iinfo(kind).min and array.max() <= np.iinfo(kind).max)


def conv_node(path: str, layer: nn.Conv2d, arriving: int, before: tuple[int, ...], after: tuple[int, ...]) -> Conv2d:
    """Return the node of a convolution."""
    if layer.padding_mode != "zeros":
        raise IntegerError(path, "layers", f"padding_mode is {layer.padding_mode!r}, expected 'zeros'")
    padding = layer.padding
    if isinstance(padding, str):
        spans = [(k - 1) * d for k, d in zip(layer.kernel_size, layer.dilation, strict=True)]
        if padding == "same" and any(span % 2 for span in spans):
            raise IntegerError(path, "layers", "padding 'same' of an even kernel has two sides of different sizes")
        padding = tuple(span // 2 for span in spans) if padding == "same" else (0, 0)
    numbers = weights_of(path, layer.weight, layer.bias, arriving)
    stride, around, dilation = ((int(a), int(b)) for a, b in (layer.stride, padding, layer.dilation))
    return Conv2d(path, *numbers, stride, around, dilation, layer.groups, before, after)
