"""A picture of a graph: its nodes in columns, from Input to Outputs. It needs matplotlib: the extra ``plot``."""

from typing import TYPE_CHECKING, Any

import nir
import numpy as np

from spikingtorch.interop.nir.plan import NEURONS, Plan
from spikingtorch.plot.canvas import colors, ink, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT = 1.9, 0.9
# size of a box, in units of the distance between two columns or rows
_BOX = (0.78, 0.56)


def picture(plan: Plan) -> "Figure":
    """Draw the nodes of a graph; raise ImportError if matplotlib is not installed.

    Boxes have different colours for neurons, weights and nodes that only move values. Dashed arrows carry the value of
    the step before.
    """
    places = _places(plan)
    columns = 1 + max(x for x, _ in places.values())
    rows = 1 + max(abs(y) for _, y in places.values()) * 2
    figure = new_figure(max(4.0, 0.4 + _WIDTH * columns), max(1.6, 0.6 + _HEIGHT * rows))
    ax: Axes = figure.add_subplot()
    ax.set_axis_off()
    back = any(edge.delayed for edges in plan.incoming.values() for edge in edges)
    ax.set(xlim=(-0.6, columns - 0.4), ylim=(-rows / 2 - (0.9 if back else 0.2), rows / 2 + 0.2))
    for name, edges in plan.incoming.items():
        for edge in edges:
            _arrow(ax, places[edge.source], places[name], edge.delayed)
    for name, node in plan.nodes.items():
        _box(ax, places[name], name, node)
    return figure


def _places(plan: Plan) -> dict[str, tuple[float, float]]:
    """Return a column and a row for each node: one column after the last node that it needs within a step."""
    column: dict[str, int] = {}
    for name in plan.nodes:
        before = [column[edge.source] for edge in plan.incoming[name] if not edge.delayed]
        column[name] = 1 + max(before, default=-1)
    # a node with a feedback edge is the lowest in its column, so that its arrow crosses nothing
    leads_back = {edge.source for edges in plan.incoming.values() for edge in edges if edge.delayed}
    members: dict[int, list[str]] = {}
    for name, at in sorted(column.items(), key=lambda item: item[0] in leads_back):
        members.setdefault(at, []).append(name)
    return {
        name: (float(at), (len(names) - 1) / 2 - row) for at, names in members.items() for row, name in enumerate(names)
    }


def _box(ax: "Axes", place: tuple[float, float], name: str, node: Any) -> None:
    from matplotlib.patches import FancyBboxPatch

    neuron, weight, other = colors(3, ax)
    has_weights = isinstance(node, nir.Affine | nir.Linear | nir.Scale | nir.Conv1d | nir.Conv2d)
    color: Any = neuron if isinstance(node, NEURONS) else weight if has_weights else other
    (x, y), (width, height) = place, _BOX
    corner = (x - width / 2 + 0.05, y - height / 2 + 0.05)
    box = FancyBboxPatch(
        corner, width - 0.1, height - 0.1, boxstyle="round,pad=0.05", facecolor=(color, 0.15), edgecolor=color
    )
    ax.add_patch(box)
    shown = name if len(name) <= 16 else f"{name[:15]}…"
    ax.text(x, y + 0.1, shown, ha="center", va="center", fontsize=9, fontweight="bold", color=ink(ax), clip_on=True)
    text = f"{type(node).__name__} {shape_text(node)}".strip()
    ax.text(x, y - 0.13, text, ha="center", va="center", fontsize=7.5, color=ink(ax), clip_on=True)


def _arrow(ax: "Axes", start: tuple[float, float], end: tuple[float, float], delayed: bool) -> None:
    from matplotlib.patches import FancyArrowPatch

    half = _BOX[0] / 2
    if delayed or end[0] <= start[0]:
        ends = ((start[0], start[1] - _BOX[1] / 2), (end[0], end[1] - _BOX[1] / 2))
        # equally deep for long and short arrows
        bend = -min(0.5, 0.7 / max(1.0, start[0] - end[0]))
    else:
        ends, bend = ((start[0] + half, start[1]), (end[0] - half, end[1])), 0.0
    ax.add_patch(
        FancyArrowPatch(
            *ends,
            connectionstyle=f"arc3,rad={bend}",
            arrowstyle="-|>",
            mutation_scale=9,
            color=ink(ax),
            alpha=0.7,
            linestyle="--" if delayed else "-",
            shrinkA=0,
            shrinkB=1,
        )
    )


def shape_text(node: Any) -> str:
    """Return the shape of a node's output, for instance 4x8x8."""
    found = (getattr(node, "output_type", None) or {}).get("output")
    return "" if found is None else "x".join(str(int(size)) for size in np.atleast_1d(found))
