"""What a picture holds, read from its artists."""

import io
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.lines import Line2D

from spikingtorch.plot.inputs import Array


def ticks(ax: Axes) -> list[PolyCollection]:
    """Return the ticks of the layers, each one collection."""
    return [each for each in ax.collections if isinstance(each, PolyCollection)]


def disks(ax: Axes) -> PathCollection:
    """Return the one collection of disks."""
    (found,) = [each for each in ax.collections if isinstance(each, PathCollection)]
    return found


def points(collection: Any) -> set[tuple[float, float]]:
    """Return where the marks of a collection are."""
    return {(round(float(x), 9), round(float(y), 9)) for x, y in collection.get_offsets()}


def xs(line: Line2D) -> Array:
    """Return where the points of a line are to the right."""
    return np.asarray(line.get_xydata())[:, 0]


def ys(line: Line2D) -> Array:
    """Return where the points of a line are upwards."""
    return np.asarray(line.get_xydata())[:, 1]


def labels(ax: Axes) -> list[str]:
    """Return the entries of the legend."""
    legend = ax.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def pixels(ax: Axes, dpi: float = 50.0) -> Array:
    """Render the figure of these axes; a picture that cannot be rendered raises."""
    buffer = io.BytesIO()
    figure: Any = ax.figure
    while not hasattr(figure, "savefig"):
        figure = figure.figure
    figure.savefig(buffer, dpi=dpi, format="rgba")
    return np.frombuffer(buffer.getvalue(), dtype=np.uint8).reshape(-1, 4)
