"""The pictures of the page, by ``spikingtorch.plot``, as SVG in its colours and fonts."""

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from spikingtorch.functional.core.tree import leaves_of
from spikingtorch.plot import canvas
from spikingtorch.plot.canvas import axes_for, colors, legend_above, whole_ticks
from spikingtorch.plot.overview import Sample, draw_page
from spikingtorch.plot.raster import raster
from spikingtorch.plot.traces import traces
from spikingtorch.report.firing import Firing, named
from spikingtorch.report.history import Curve
from spikingtorch.report.measure import Measured, classes_of

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


Records = Mapping[str, Tensor]
# size of a small picture, in inches
_WIDTH, _HEIGHT = 3.6, 2.4
_ROWS, _TRACES, _BINS = 128, 3, 25
# placeholders for the page's colours of text and background
_INK, _PAPER = "#18222c", "#fdfefd"
_VARIABLES = {
    _INK: "currentColor",
    _PAPER: "none",
    canvas.BLUE: "var(--blue)",
    canvas.VERMILION: "var(--vermilion)",
    canvas.GREEN: "var(--green)",
    canvas.SKY: "var(--sky)",
    canvas.ORANGE: "var(--orange)",
    canvas.PURPLE: "var(--purple)",
}
_STYLE: dict[str, Any] = {
    "font.size": 9.0,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
    "axes.facecolor": _PAPER,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "spikingtorch",
    # a dollar in the name of a layer begins no formula
    "text.parse_math": False,
}
# the largest number of marks that are drawn one by one; more marks become one image of this resolution
_MARKS, _DPI = 250, 220
_ID = re.compile(r' id="([^"]*)"')
_PLACES = re.compile(r'( (?:d|x|y|width|height|points)=")([^"]*)"')
# shades of many layers would be too dark on a dark page; browsers that cannot mix colours take the first
_SHADE = re.compile(r"(fill|stroke): (#(?!808080)[0-9a-f]{6})")
_FONT = re.compile(r"font: ([\w. ]*?px) [^;\"]*")


def curves(chart: Sequence[Curve], label: str) -> "Figure":
    """Draw curves over epochs."""
    ax = _small()
    for curve, color in zip(chart, colors(len(chart), ax), strict=True):
        y = [value if math.isfinite(value) else math.nan for value in curve.values]
        few = len(y) <= 30
        ax.plot(curve.epochs, y, color=color, linewidth=1.6, marker="o" if few else "", markersize=3, label=curve.name)
    if len(chart) > 1:
        legend_above(ax)
    values = {value for curve in chart for value in curve.values}
    if len(values) == 1 and 0.0 <= min(values) < math.inf:
        # around a single value, matplotlib would show the thousandths
        ax.set_ylim(0.0, 1.25 * min(values) or 1.0)
    whole_ticks(ax.xaxis)
    ax.set(xlabel="epoch", ylabel=label)
    return _figure(ax)


def rate_histogram(layer: Firing, color: int, count: int) -> "Figure":
    """Draw a histogram of a layer's firing rates over all samples."""
    ax = _small()
    rates = layer.rates.flatten().numpy()
    edges = np.linspace(0.0, float(rates.max()) or 1.0, _BINS + 1)
    shares = 100 * np.histogram(rates, edges)[0] / rates.size
    shade = colors(count, ax)[color]
    ax.stairs(shares, edges, color=shade, fill=True, alpha=0.25)
    ax.stairs(shares, edges, color=shade, linewidth=1.4)
    ax.set(xlim=(0.0, edges[-1]), ylim=(0.0, None), xlabel="firing rate (spikes per step)", ylabel="neurons (%)")
    return _figure(ax)


def layer_raster(spikes: Tensor, color: int, count: int) -> "Figure":
    """Draw the spikes of a layer for the first sample, in the colour of the layer."""
    from matplotlib.colors import to_rgb

    ax = raster(spikes, ax=_small(), most=_ROWS)
    shade = colors(count, ax)[color]
    for marks in ax.collections:
        # a ring, for a negative value, keeps its transparent face
        faces: Any = np.array(marks.get_facecolor())
        faces[:, :3] = to_rgb(shade)
        marks.set_facecolor(faces)
        marks.set_edgecolor(shade)
    return _figure(ax)


def layer_traces(records: Records) -> "Figure":
    """Draw membranes of a few neurons for the first sample, preferably of neurons that fire."""
    neurons = _telling(records["spikes"][0].flatten(1))
    drawn = traces(
        records["v"], spikes=records["spikes"], threshold=records.get("threshold"), neurons=neurons, ax=_small()
    )
    return _figure(drawn)


def membranes(records: Records) -> str:
    """Describe the membranes of a layer for the first sample, and its threshold."""
    v = records["v"][0].double()
    finite = v[v.isfinite()]
    span = f" from {finite.min():.3g} to {finite.max():.3g}" if finite.numel() else ""
    if "threshold" not in records:
        return f"all of the layer go{span}"
    low, high = records["threshold"][0].min(), records["threshold"][0].max()
    return f"all of the layer go{span}, threshold {low:.3g}" + ("" if low == high else f" to {high:.3g}")


def whole(layers: Sequence[Firing], records: Mapping[str, Records], measured: Measured) -> "Figure":
    """Draw the network on one page: records and outputs of the first samples, and rates over all samples."""
    leaf = next(each for each in leaves_of(measured.out) if isinstance(each, Tensor) and each.ndim >= 2)
    shown, first = with_neurons(leaf), measured.first
    classes = classes_of(shown, first.targets)
    class_of = None if classes is None else int(classes[0])
    by_layer = {named(layer.name): records[layer.name] for layer in layers}
    sample = Sample(by_layer, shown, with_neurons(first.x), 0, class_of)
    return draw_page(sample, {named(layer.name): layer.activity for layer in layers})


def _telling(spikes: Tensor) -> list[int]:
    """Return neurons of spikes (T, neurons) to draw: the busiest, the quietest that fires, and one in between."""
    counts = (spikes != 0).sum(0)
    order = counts.argsort(descending=True, stable=True)
    firing = order[: int((counts > 0).sum())]
    among = firing if len(firing) >= _TRACES else order
    places = torch.linspace(0, len(among) - 1, min(_TRACES, len(among))).round().long()
    return sorted(among[places.to(among.device)].tolist())


def with_neurons(x: Tensor) -> Tensor:
    """Return a recording (N, T) with an axis for its single neuron."""
    return x if x.ndim > 2 else x.unsqueeze(-1)


def _small() -> "Axes":
    return axes_for(None, _WIDTH, _HEIGHT)


def _figure(ax: "Axes") -> "Figure":
    return cast("Figure", ax.figure)


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in the style of the page, whatever the user's style."""
    import matplotlib.style

    with matplotlib.style.context(["default", _STYLE]):
        yield


def inline(figure: "Figure", key: str, alt: str) -> "Markup":
    """Return a figure as an element of the page, with a unique key, and a description in ``alt``."""
    from markupsafe import Markup

    for ax in figure.axes:
        for marks in ax.collections:
            places: Any = marks.get_offsets()
            marks.set_rasterized(len(places) > _MARKS)
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", dpi=_DPI, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    text = buffer.getvalue()
    start = text.index("<svg")
    head, body = text[start : text.index(">", start) + 1], text[text.index(">", start) + 1 :]
    found = re.search(r'viewBox="([^"]*)"', head)
    assert found is not None
    opened = Markup('<svg viewBox="{}" role="img" aria-label="{}">').format(found.group(1), alt)
    return opened + Markup(_cleaned(body, key).strip())


def _cleaned(body: str, key: str) -> str:
    """Return the content of an SVG without unneeded parts, and with unique ids."""
    body = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->|<defs>\s*</defs>", "", body, flags=re.S)
    used = {*re.findall(r'(?:url\(#|href="#)([^)"]*)', body)}
    body = _ID.sub(lambda each: f' id="{key}-{each.group(1)}"' if each.group(1) in used else "", body)
    body = re.sub(r'(url\(#|href="#)', rf"\1{key}-", body)
    body = _PLACES.sub(lambda each: each.group(1) + re.sub(r"(\.\d\d)\d+", r"\1", each.group(2)) + '"', body)
    body = _FONT.sub(r"font: \1 var(--sans)", body)
    for color, variable in _VARIABLES.items():
        body = body.replace(color.lower(), variable)
    body = _SHADE.sub(r"\1: \2; \1: color-mix(in oklab, \2, white var(--lift))", body)
    return re.sub(r">\s+<", "><", body)
