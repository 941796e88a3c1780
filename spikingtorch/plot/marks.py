"""Marks of spikes: ticks whose size is in units of the axes, and disks whose area is the value of a spike."""

from typing import TYPE_CHECKING, Any

import numpy as np

from spikingtorch.plot.inputs import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# of the largest disk, in square points
LARGEST = 60.0
# a tick is at most this share of the axis of time, even for few steps
_WIDEST = 0.009


def is_binary(values: Array) -> bool:
    """Return True if all values are 0 or 1."""
    return bool(((values == 0) | (values == 1)).all())


def ticks(ax: "Axes", xy: Array, width: float, height: float, color: Any) -> None:
    """Draw a tick at each of the points (spikes, 2), of this size in units of the axes, in one or many colours."""
    from matplotlib.collections import PolyCollection
    from matplotlib.transforms import AffineDeltaTransform

    corners = np.array([(-1.0, -1.0), (-1.0, 1.0), (1.0, 1.0), (1.0, -1.0)]) * (width / 2, height / 2)
    drawn = PolyCollection(
        [corners],
        offsets=xy,
        offset_transform=ax.transData,
        # an edge keeps ticks visible where a step or a row is smaller than a pixel
        linewidths=0.5,
        facecolors=color,
        edgecolors=color,
    )
    # the part of transData that is affine for every scale of the axes, without its offset
    size: Any = ax.transLimits + ax.transAxes
    drawn.set_transform(AffineDeltaTransform(size))
    ax.add_collection(drawn, autolim=False)


def disks(ax: "Axes", xy: Array, areas: Array, colors: Array, filled: Array) -> None:
    """Draw a disk at each of the points (spikes, 2), with this share of the largest area; a ring if not filled."""
    from matplotlib.colors import to_rgba_array

    edges: Any = to_rgba_array(colors.tolist())
    faces = edges.copy()
    faces[~filled, 3] = 0.0
    ax.scatter(xy[:, 0], xy[:, 1], s=LARGEST * areas, facecolors=faces, edgecolors=edges, linewidths=0.8)


def tick_width(steps: int, dt: float) -> float:
    """Return the width of a tick: most of a step, but little of the picture.

    >>> tick_width(1000, 1.0), tick_width(10, 1.0)
    (0.8, 0.09)
    """
    return min(0.8, _WIDEST * steps) * dt
