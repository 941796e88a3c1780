"""Pictures of what each neuron does with an input, as examples/neurons.py draws them, for light and dark pages."""

from pathlib import Path
from types import ModuleType

import matplotlib as mpl
import matplotlib.style
from matplotlib.figure import Figure

from examples import neurons

# what the example draws in a dark ink, on dark pages
LIGHT_INK = {"INK": "#d7dbe0", "ACCENT": "#ff8a97", "GRAY": "#9aa3ad"}


def subjects() -> dict[str, neurons.Panel]:
    """Return the first picture of each layer, by the names of the layer and of its step."""
    panels = [panel for row in (neurons.neurons() | neurons.parts()).values() for panel in row]
    found: dict[str, neurons.Panel] = {}
    for panel in panels:
        for name in (type(panel.layer).__name__, getattr(panel.layer.step, "__name__", "")):
            found.setdefault(name, panel)
    return found


def draw(folder: Path) -> dict[str, str]:
    """Draw all neurons, and return the names of their files, but for the shade, by the keys of ``subjects``."""
    folder.mkdir(parents=True, exist_ok=True)
    stems: dict[str, str] = {}
    for name, panel in subjects().items():
        stem = type(panel.layer).__name__
        if stem not in stems.values():
            for shade in ("light", "dark"):
                made = figure(panel, neurons, dark=shade == "dark")
                made.savefig(folder / f"{stem}-{shade}.svg", transparent=True, metadata={"Date": None})
        stems[name] = stem
    return stems


def figure(panel: neurons.Panel, drawing: ModuleType, *, dark: bool) -> Figure:
    """Return the figure of one neuron above its input."""
    kept = {name: getattr(drawing, name) for name in LIGHT_INK}
    with mpl.rc_context(), mpl.style.context("dark_background" if dark else "default"):
        mpl.rcParams["svg.fonttype"] = "path"
        vars(drawing).update(LIGHT_INK if dark else {})
        try:
            made = Figure(figsize=(5.2, 2.6), layout="constrained")
            above, below = made.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1)})
            drawing.draw_neuron(above, panel, drawing.watch(panel.layer, panel.xs))
            drawing.draw_input(below, panel.xs)
        finally:
            vars(drawing).update(kept)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.locator_params(axis="y", nbins=4 if axes is above else 2)
        axes.tick_params(labelsize=8)
    return made
