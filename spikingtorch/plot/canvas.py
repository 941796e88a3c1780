"""Axes to draw on, and what all pictures share: colours, marks of spikes, images and legends.

The hues are those of M. Okabe and K. Ito, "Color universal design" (2008), which colour-blind readers can tell apart,
on white and on dark backgrounds. Their yellow and black are left out: yellow is invisible on white, and black on black.
Text, axes and otherwise black marks follow matplotlib's rcParams.
"""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from spikingtorch.plot.inputs import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


BLUE = "#0072B2"
VERMILION = "#D55E00"
GREEN = "#009E73"
PURPLE = "#CC79A7"
ORANGE = "#E69F00"
SKY = "#56B4E9"
# readable on white and on black, for marks in the background
GRAY = "#808080"
# The first colours are the easiest to see in thin marks and to tell apart. Green and purple look alike without the
# cones for red or for green, so they come last.
ON_LIGHT = (BLUE, VERMILION, GREEN, SKY, ORANGE, PURPLE)
ON_DARK = (SKY, VERMILION, GREEN, ORANGE, PURPLE, BLUE)
# of values from below zero to above it, with equally dark ends
_DIVERGING = ("#00304d", BLUE, "#8fc1de", "#f7f7f7", "#f2b183", VERMILION, "#5a2700")
# dots per inch, at least: matplotlib's 100 are blurred on today's screens
_SHARP = 200.0
# of the largest disk, in square points
LARGEST = 60.0
# a tick is at most this share of the axis of time, even for few steps
_WIDEST = 0.009


def ink(ax: "Axes") -> str:
    """Return the colour of text on these axes: black on white, white on a dark background."""
    from matplotlib.colors import to_hex

    return to_hex(ax.xaxis.label.get_color())


def colors(count: int, ax: "Axes") -> list[str]:
    """Return a number of colours for these axes: those above if they suffice, else shades from blue to green."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex, to_rgb

    cycle = ON_DARK if sum(to_rgb(ink(ax))) > 1.5 else ON_LIGHT
    if count <= len(cycle):
        return [*cycle[:count]]
    # neither the darkest nor the brightest of the map, which would vanish on one of the backgrounds
    return [to_hex(colormaps["viridis"](0.25 + 0.57 * k / (count - 1))) for k in range(count)]


def need_matplotlib() -> None:
    """Raise an ImportError that says what to install, unless matplotlib is installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ModuleNotFoundError as error:
        raise ImportError("spikingtorch.plot needs matplotlib; pip install spikingtorch[plot]") from error


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of a size in inches. Pyplot does not manage it, so it needs no close."""
    need_matplotlib()
    from matplotlib import rcParams

    from spikingtorch.plot.shown import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=max(_SHARP, rcParams["figure.dpi"]))


def axes_for(ax: "Axes | None", width: float = 6.0, height: float = 3.0) -> "Axes":
    """Return the caller's axes, or the axes of a new figure of this size, without the lines of a box."""
    need_matplotlib()
    from spikingtorch.plot.shown import Axes

    drawn = new_figure(width, height).add_subplot(axes_class=Axes) if ax is None else ax
    if hasattr(drawn, "spines"):
        drawn.spines[["top", "right"]].set_visible(False)
        return drawn
    raise TypeError(
        f"ax is a {type(drawn).__name__}, expected matplotlib Axes, such as figure.add_subplot() or "
        "plt.subplots()[1] return them; for several panels choose one, axes[0]"
    )


def whole_ticks(axis: "Axis", most: int | Literal["auto"] = 5) -> None:
    """Put the ticks of an axis only at whole numbers: a few, or as many as fit ("auto")."""
    from matplotlib.ticker import MaxNLocator

    # one tick is enough: otherwise matplotlib adds ticks between whole numbers to have more than one
    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def label_time(ax: "Axes", dt: float, unit: str | None) -> None:
    """Label the axis of time; in steps, if a step has no length, with ticks at whole steps."""
    named = time_unit(dt, unit, "steps")
    ax.set_xlabel(f"time ({named})")
    if named == "steps":
        whole_ticks(ax.xaxis, "auto")


def time_unit(dt: float, unit: str | None, steps: str) -> str:
    """Return the unit of time: as given, or steps if dt is 1, and milliseconds otherwise."""
    return unit or (steps if dt == 1.0 else "ms")


def image_of(ax: "Axes", values: Array, signed: bool, among: Array | None = None, **options: Any) -> "AxesImage":
    """Draw a matrix as colours: symmetric around zero if signed, else from the background's colour to the text's.

    The largest of the values, or of those that they are ``among``, gets the last colour.
    """
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    largest = float(np.nanmax(np.abs(values if among is None else among))) or 1.0
    shades, least = (_DIVERGING, -largest) if signed else ((to_hex(ax.get_facecolor()), ink(ax)), 0.0)
    cmap = LinearSegmentedColormap.from_list("values", shades)
    return ax.imshow(values, cmap=cmap, vmin=least, vmax=largest, interpolation="nearest", **options)


def beside(grid: Array) -> Array:
    """Return images (..., rows, columns, H, W) as tables, (..., height, width), with NaN in between."""
    rows, _, height, width = grid.shape[-4:]
    tiles = np.full((*grid.shape[:-2], height + 1, width + 1), np.nan)
    tiles[..., :height, :width] = grid
    tables: Array = tiles.swapaxes(-3, -2).reshape(*grid.shape[:-4], rows * (height + 1), -1)
    return tables[..., :-1, :-1]


def color_bar(ax: "Axes", image: "AxesImage", label: str = "") -> None:
    """Draw a colour bar to the right of an image, of the same height, with a few ticks."""
    from matplotlib.ticker import MaxNLocator

    bar = ax.figure.colorbar(image, cax=ax.inset_axes((1.03, 0.0, 0.035, 1.0)), label=label)
    bar.outline.set_visible(False)
    rows, columns = image.get_array().shape  # type: ignore[union-attr]
    flat = ax.get_aspect() != "auto" and rows < 0.4 * columns
    bar.locator = MaxNLocator(2 if flat else 4)
    bar.update_ticks()


def legend_text(text: str) -> str:
    """Return a label that matplotlib shows: it hides labels that begin with an underscore, as names of layers may."""
    return f"\u200b{text}" if text.startswith("_") else text


def legend_above(ax: "Axes") -> None:
    """Put the legend above the axes, where it hides nothing, in as many columns as fit."""
    handles, texts = ax.get_legend_handles_labels()
    room = 72 * ax.get_position().width * ax.figure.bbox.width / ax.figure.dpi
    # a handle and its gaps take 27 points
    widest = max(_width_of(text) for text in texts) + 27
    ax.legend(
        handles,
        texts,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=max(1, min(len(texts), int(room / widest))),
        frameon=False,
        fontsize="small",
        labelcolor=ink(ax),
        borderaxespad=0.2,
        handlelength=1.2,
        handletextpad=0.5,
        columnspacing=1.2,
    )


def _width_of(text: str) -> float:
    """Return the width of a small text, in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    # a dollar would begin a formula
    path = TextPath((0.0, 0.0), text.replace("$", "s"), prop=FontProperties(size="small"))
    return float(path.get_extents().width) if len(path.vertices) else 0.0


def is_binary(values: Array) -> bool:
    """Return True if all values are 0 or 1."""
    return bool(((values == 0) | (values == 1)).all())


def draw_ticks(ax: "Axes", xy: Array, width: float, height: float, color: Any) -> None:
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


def draw_disks(ax: "Axes", xy: Array, areas: Array, colors: Array, filled: Array) -> None:
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
