"""The maps between neurons that all readers compute alike: sums, linear layers, convolutions, pools."""

from typing import Any

import nir
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def float32(value: Any) -> Array:
    return np.asarray(value, dtype=np.float64).astype(np.float32)


def sum_of(arrays: list[Array]) -> Array:
    """Return the sum of arrays, in their own dtype."""
    total = arrays[0]
    for each in arrays[1:]:
        total = total + each
    return total


def layer(node: Any, x: Array) -> Array:
    """Return the output of a node that has no state, for the input of one step, shape (N, ...)."""
    if isinstance(node, nir.Affine):
        return np.asarray(x @ float32(node.weight).T + float32(node.bias))
    if isinstance(node, nir.Linear):
        return np.asarray(x @ float32(node.weight).T)
    if isinstance(node, nir.Conv2d):
        return _conv2d(node, x)
    if isinstance(node, nir.AvgPool2d):
        return np.asarray(_windows(x, node).mean(axis=(-2, -1)))
    if isinstance(node, nir.SumPool2d):
        return np.asarray(_windows(x, node).sum(axis=(-2, -1)))
    if isinstance(node, nir.Flatten):
        return x.reshape(len(x), -1)
    if isinstance(node, nir.Output):
        return x
    raise TypeError(f"{type(node).__name__} is not in these fixtures")


def _conv2d(node: Any, x: Array) -> Array:
    if not np.all(np.asarray(node.dilation) == 1) or node.groups != 1:
        raise TypeError("these fixtures have neither dilation nor groups")
    weight = float32(node.weight)
    patches = _patches(x, weight.shape[-2:], _two(node.stride), _two(node.padding))
    return np.asarray(np.einsum("ncyxhw,ochw->noyx", patches, weight) + float32(node.bias)[:, None, None])


def _windows(x: Array, node: Any) -> Array:
    kernel = _two(node.kernel_size)
    return _patches(x, kernel, kernel if node.stride is None else _two(node.stride), _two(node.padding))


def _patches(x: Array, kernel: tuple[int, ...], stride: tuple[int, int], padding: tuple[int, int]) -> Array:
    """Return windows of x, shape (N, C, y, x, *kernel)."""
    padded = np.pad(x, ((0, 0), (0, 0), *[(each, each) for each in padding]))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(2, 3))
    return windows[:, :, :: stride[0], :: stride[1]]


def _two(value: Any) -> tuple[int, int]:
    first, second = np.broadcast_to(np.asarray(value), (2,))
    return int(first), int(second)
