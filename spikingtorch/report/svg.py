"""Figures of matplotlib as SVG in the page: lines and text in its colours and fonts, many marks as one image."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from spikingtorch.plot import palette

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

# placeholders for the page's colours of text and background
_INK, _PAPER = "#18222c", "#fdfefd"
_VARIABLES = {
    _INK: "currentColor",
    _PAPER: "none",
    palette.BLUE: "var(--blue)",
    palette.VERMILION: "var(--vermilion)",
    palette.GREEN: "var(--green)",
    palette.SKY: "var(--sky)",
    palette.ORANGE: "var(--orange)",
    palette.PURPLE: "var(--purple)",
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
