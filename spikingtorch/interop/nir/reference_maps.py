"""The nodes without a membrane, in numpy and float64: weights, images, and delays.

A part of :mod:`spikingtorch.interop.nir.reference_nodes`, written from the docstrings of the package ``nir`` alone.
"""

from collections import deque
from typing import Any

import nir
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from spikingtorch.interop.nir.reference_types import Array, Build, Cell, Given, Grid, Shape, array_of


def _identity(_node: Any, _shape: Shape, _grid: Grid) -> Cell:
    """Return the input unchanged. Source: nir.Input, nir.Output."""
    return Given


def _affine(node: Any, shape: Shape, _grid: Grid) -> Cell:
    """Give W x + b, or W x, for x: (*leading, in) and W: (*leading, out, in). Source: nir.Affine, nir.Linear."""
    weight = np.asarray(node.weight, dtype=np.float64)
    # all of them are axes of the signal: none may align with the batch, which comes before them
    leading = weight.shape[:-2]
    if shape[-1:] != weight.shape[-1:] or leading not in ((), shape[:-1]):
        raise ValueError(f"a weight of shape {weight.shape} does not fit what comes in, {shape}")
    bias = array_of(node, "bias", (*shape[:-1], weight.shape[-2])) if type(node) is nir.Affine else 0.0
    return lambda x: Given(np.matmul(weight, x[..., np.newaxis])[..., 0] + bias)


def _scale(node: Any, shape: Shape, _grid: Grid) -> Cell:
    """Give scale x, element by element. Source: nir.Scale."""
    scale = array_of(node, "scale", shape)
    return lambda x: Given(scale * x)


def _flatten(node: Any, shape: Shape, _grid: Grid) -> Cell:
    """Merge the axes from start_dim to end_dim, both included and counted without the batch. Source: nir.Flatten."""
    start, end = int(node.start_dim), int(node.end_dim)
    rest = () if end == -1 else shape[end + 1 :]
    middle = shape[start:] if end == -1 else shape[start : end + 1]
    new = (*shape[:start], int(np.prod(middle)), *rest)
    return lambda x: Given(x.reshape(x.shape[0], *new))


def _delay(node: Any, shape: Shape, grid: Grid) -> Cell:
    """Give x(t - delay), zero before the start, with a delay for each element. Source: nir.Delay."""
    ratio = array_of(node, "delay", shape) / grid.dt
    steps = np.rint(ratio)
    if not np.all(np.isfinite(ratio) & (ratio >= 0)) or np.any(np.abs(ratio - steps) > 1e-6 * ratio):
        raise ValueError(f"a delay must be zero or a whole number of steps of dt = {grid.dt}, got {node.delay}")
    past: deque[Array] = deque(maxlen=int(np.max(steps, initial=0)) + 1)

    def apply(x: Array) -> Given:
        past.appendleft(x)
        y = np.zeros_like(x)
        for age, value in enumerate(past):
            y = np.where(steps == age, value, y)
        return Given(y)

    return apply


def _convolution(node: Any, shape: Shape, _grid: Grid) -> Cell:
    """Give the cross-correlation of x with the weight, plus the bias. Source: nir.Conv1d, nir.Conv2d.

    x: (C_in, *space), weight: (C_out, C_in / groups, *kernel). One axis of space becomes two, the first of size 1.
    """
    weight = np.asarray(node.weight, dtype=np.float64)
    bias = array_of(node, "bias", weight.shape[:1])
    axes, groups = weight.ndim - 2, int(node.groups)
    if len(shape) != axes + 1 or shape[0] != weight.shape[1] * groups:
        raise ValueError(f"a weight of shape {weight.shape} in {groups} groups does not fit what comes in, {shape}")
    missing = (1,) * (2 - axes)
    kernels = np.split(weight.reshape(*weight.shape[:2], *missing, *weight.shape[2:]), groups)
    stride, dilation = _pair(node.stride, axes, 1), _pair(node.dilation, axes, 1)
    padding = _padding(node, axes, kernels[0].shape[2:], stride, dilation)

    def apply(x: Array) -> Given:
        lifted = x.reshape(*x.shape[:2], *missing, *x.shape[2:])
        windows = _windows(lifted, kernels[0].shape[2:], stride, padding, dilation)
        inputs = np.split(windows, groups, axis=1)
        pairs = zip(inputs, kernels, strict=True)
        parts = [np.tensordot(each, kernel, ((1, 4, 5), (1, 2, 3))) for each, kernel in pairs]
        y = np.moveaxis(np.concatenate(parts, axis=-1) + bias, -1, 1)
        return Given(y.reshape(*y.shape[:2], *y.shape[4 - axes :]))

    return apply


def _padding(node: Any, axes: int, kernel: Shape, stride: Shape, dilation: Shape) -> list[tuple[int, int]]:
    """Return the numbers of zeros before and after each axis; for "same", an odd zero comes after."""
    if not isinstance(node.padding, str):
        return [(each, each) for each in _pair(node.padding, axes, 0)]
    if node.padding == "valid":
        return [(0, 0), (0, 0)]
    if stride != (1, 1):
        raise ValueError(f"padding 'same' is defined for a stride of 1, got {node.stride}")
    totals = [each * (size - 1) for each, size in zip(dilation, kernel, strict=True)]
    return [(total // 2, total - total // 2) for total in totals]


def _pool(node: Any, shape: Shape, _grid: Grid) -> Cell:
    """Give the sum or mean of each window of (C, H, W), padding included. Source: nir.SumPool2d, nir.AvgPool2d."""
    if len(shape) != 3:
        raise ValueError(f"it pools (C, H, W), and not what comes in, {shape}")
    kernel, stride, around = (_pair(each, 2, 1) for each in (node.kernel_size, node.stride, node.padding))
    size = kernel[0] * kernel[1] if type(node) is nir.AvgPool2d else 1
    padding = [(each, each) for each in around]
    return lambda x: Given(_windows(x, kernel, stride, padding, (1, 1)).sum(axis=(4, 5)) / size)


def _windows(x: Array, kernel: Shape, stride: Shape, padding: list[tuple[int, int]], dilation: Shape) -> Array:
    """Return the windows over the last two axes of (N, C, H, W): (N, C, H', W', *kernel)."""
    padded = np.pad(x, [(0, 0), (0, 0), *padding])
    extent = tuple(each * (size - 1) + 1 for each, size in zip(dilation, kernel, strict=True))
    every = sliding_window_view(padded, extent, axis=(2, 3))
    return every[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def _pair(value: Any, axes: int, missing: int) -> Shape:
    """Return one number for each of two axes; the first is ``missing`` if there is only one axis."""
    numbers = [int(each) for each in np.broadcast_to(np.asarray(value), (axes,))]
    return tuple([missing] * (2 - axes) + numbers)


MAPS: dict[type, Build] = {
    **dict.fromkeys((nir.Input, nir.Output), _identity),
    **dict.fromkeys((nir.Affine, nir.Linear), _affine),
    **dict.fromkeys((nir.Conv1d, nir.Conv2d), _convolution),
    **dict.fromkeys((nir.SumPool2d, nir.AvgPool2d), _pool),
    nir.Scale: _scale,
    nir.Flatten: _flatten,
    nir.Delay: _delay,
}
