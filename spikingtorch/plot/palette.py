"""The colours of all pictures; colour-blind readers can tell them apart, on white and on dark backgrounds.

The hues are those of M. Okabe and K. Ito, "Color universal design" (2008). Their yellow and black are left out: yellow
is invisible on white, and black on black. Text, axes and otherwise black marks follow matplotlib's rcParams.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

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
# from below zero to above it, with equally dark ends
_DIVERGING = ("#00304d", BLUE, "#8fc1de", "#f7f7f7", "#f2b183", VERMILION, "#5a2700")


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


def diverging() -> "Colormap":
    """Return the map for values around zero: blue below, white at zero, vermilion above."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("blue_vermilion", _DIVERGING)


def sequential(ax: "Axes") -> "Colormap":
    """Return the map for non-negative values: from the background of these axes to the colour of their text."""
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    return LinearSegmentedColormap.from_list("paper_ink", [to_hex(ax.get_facecolor()), ink(ax)])
