"""Sums of whole numbers: convolution, pooling, and how far the sums of a node can reach."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from spikingtorch.quantize.arithmetic import Whole

if TYPE_CHECKING:
    from spikingtorch.quantize.nodes import Conv2d, SumPool2d


def convolution(node: "Conv2d", s: Whole, weight: Whole) -> Whole:
    """Return the convolution of images (N, C, H, W) without its bias."""
    rows, columns = node.padding
    padded = np.pad(s, ((0, 0), (0, 0), (rows, rows), (columns, columns)))
    (high, wide), (down, across) = weight.shape[2:], node.dilation
    seen = sliding_window_view(padded, (down * (high - 1) + 1, across * (wide - 1) + 1), axis=(2, 3))
    seen = seen[:, :, :: node.stride[0], :: node.stride[1], ::down, ::across]
    size = seen.shape[1] // node.groups
    parts = []
    for group, own in enumerate(np.split(weight, node.groups)):
        window = seen[:, group * size : (group + 1) * size]
        # (N, height, width, entries of a window) times (entries, channels)
        entries = window.transpose(0, 2, 3, 1, 4, 5).reshape(len(s), *window.shape[2:4], own[0].size)
        parts.append((entries @ own.reshape(len(own), -1).T).transpose(0, 3, 1, 2))
    return np.concatenate(parts, 1)


def pooled(node: "SumPool2d", s: Whole) -> Whole:
    """Return the sums over windows of images (N, C, H, W)."""
    seen = sliding_window_view(s, node.kernel, axis=(2, 3))
    sums: Whole = seen[:, :, :: node.stride[0], :: node.stride[1]].sum((4, 5))
    return sums


def reach_of(
    weight: NDArray[Any], product: Callable[[Whole, Whole], Whole], low: NDArray[Any], high: NDArray[Any]
) -> tuple[Whole, Whole]:
    """Return the smallest and the largest value of each sum without its bias.

    The bounds hold for the sum of any part of the inputs as well, because each input may also be zero.

    Args:
        weight: of the sums.
        product: sums of a batch of inputs by weights.
        low: smallest value of each input, of the shape of a sample.
        high: largest value of each input.
    """
    positive, negative = weight.astype(np.int64).clip(0), weight.astype(np.int64).clip(None, 0)
    low, high = np.minimum(low, 0)[None].astype(np.int64), np.maximum(high, 0)[None].astype(np.int64)
    least = product(low, positive) + product(high, negative)
    largest = product(high, positive) + product(low, negative)
    return least[0], largest[0]
