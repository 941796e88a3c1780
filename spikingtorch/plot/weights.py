"""Weights: a histogram, a matrix as an image, or the kernels of a convolution side by side."""

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from torch import Tensor

from spikingtorch.plot import inputs
from spikingtorch.plot.canvas import axes_for, beside, color_bar, colors, image_of, ink, whole_ticks
from spikingtorch.plot.inputs import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Kind = Literal["histogram", "image", "kernels"]
_BINS = 60


def weights(
    weight: Tensor, *, kind: Kind | None = None, ax: "Axes | None" = None, most: int = 64, label: str = "weight"
) -> "Axes":
    """Draw weights as colours, blue below zero and vermilion above, or as a histogram.

    Args:
        weight: of any shape.
        kind: "image", for a matrix (outputs, inputs), "kernels", for a convolution (outputs, inputs, height, width), or
            "histogram", for any. By default an image for two axes, kernels for four, and a histogram for others.
        ax: where to draw; by default a new figure, ``weights(...).figure``.
        most: the largest number of kernels to draw. If there are more, evenly spaced ones are drawn, and the axes say
            so.
        label: of the weights, beside the colour bar or below the histogram.

    Returns:
        The axes.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: weight is not a real tensor.
        ValueError: weight is empty or holds NaN, has another number of axes than the kind needs, or most does not fit.

    >>> import torch
    >>> weights(torch.randn(16, 1, 5, 5)).get_xlabel()
    '16 kernels'
    """
    values = inputs.check_finite("weights", "weight", inputs.as_array(inputs.check_tensor("weights", "weight", weight)))
    if values.size == 0:
        raise ValueError(f"weights: weight has shape {values.shape}, with nothing in it to draw")
    most = inputs.check_most("weights", "most", most)
    drawn = kind or {2: "image", 4: "kernels"}.get(values.ndim, "histogram")
    needed = {"histogram": values.ndim, "image": 2, "kernels": 4}
    if drawn not in needed:
        raise ValueError(f"weights: kind={kind!r}, expected 'histogram', 'image' or 'kernels'")
    if values.ndim != needed[drawn]:
        raise ValueError(
            f"weights: kind={kind!r} needs {needed[drawn]} axes, and weight has shape {values.shape}; reshape it, with "
            "weight.flatten(1) for a matrix, or take kind='histogram'"
        )
    if drawn == "histogram":
        return _histogram(axes_for(ax, 4.5, 2.8), values.ravel(), label)
    if drawn == "image":
        ax = axes_for(ax, 4.5, 3.4)
        _image(ax, values, label, "auto")
        ax.set(xlabel="input", ylabel="output")
        return ax
    tiles, xlabel, ylabel = _tiled(values, most)
    # the kernels are about 3.4 inches wide, and the colour bar takes the rest
    ax = axes_for(ax, 4.5, min(6.0, 0.5 + 3.4 * tiles.shape[0] / tiles.shape[1]))
    _image(ax, tiles, label, "equal")
    ax.spines[:].set_visible(False)
    ax.set(xticks=[], yticks=[], xlabel=xlabel, ylabel=ylabel)
    return ax


def _histogram(ax: "Axes", values: Array, label: str) -> "Axes":
    """Count weights in bins that are symmetric around zero."""
    largest = float(np.abs(values).max()) or 1.0
    counts, edges = np.histogram(values, np.linspace(-largest, largest, _BINS + 1))
    ax.stairs(counts, edges, fill=True, color=colors(1, ax)[0])
    ax.axvline(0.0, color=ink(ax), linewidth=0.7, linestyle=":")
    zeros = float((values == 0).mean())
    ax.set_title(f"{values.size:,} weights" + (f", {zeros:.0%} of them zero" if zeros else ""), fontsize="medium")
    ax.set(xlabel=label, ylabel="number", xlim=(-largest, largest))
    return ax


def _image(ax: "Axes", values: Array, label: str, aspect: Literal["auto", "equal"]) -> None:
    """Draw a matrix, its first row at the top, white where it is zero."""
    image = image_of(ax, values, True, aspect=aspect, origin="upper")
    for axis in (ax.xaxis, ax.yaxis):
        whole_ticks(axis)
    color_bar(ax, image, label)


def _tiled(values: Array, most: int) -> tuple[Array, str, str]:
    """Return kernels (O, I, H, W) side by side, with NaN in between, and the texts of both axes."""
    outputs, sources = values.shape[:2]
    if sources == 1:
        step = inputs.stride(outputs, most)
        grid, xlabel, ylabel = _in_rows(values[::step, 0]), inputs.subset(step, outputs, "kernels"), ""
    else:
        # inputs below each other and outputs side by side, because there are usually more outputs
        down = inputs.stride(sources, math.isqrt(most))
        across = inputs.stride(outputs, most // math.ceil(sources / down))
        grid = values[::across, ::down].swapaxes(0, 1)
        xlabel, ylabel = inputs.subset(across, outputs, "outputs"), inputs.subset(down, sources, "inputs")
    return beside(grid), xlabel, ylabel


def _in_rows(kernels: Array) -> Array:
    """Return kernels (K, H, W) as a table (rows, columns, H, W), wider than high, with NaN in empty places."""
    columns = math.ceil(math.sqrt(1.5 * len(kernels)))
    rows = math.ceil(len(kernels) / columns)
    table = np.full((rows * columns, *kernels.shape[1:]), np.nan)
    table[: len(kernels)] = kernels
    return table.reshape(rows, columns, *kernels.shape[1:])
