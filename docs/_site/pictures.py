"""Pictures of what each neuron does with an input, as examples/neurons.py draws them, for light and dark pages."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import matplotlib as mpl
import torch
from matplotlib import style
from matplotlib.figure import Figure

import spikingtorch as st
from examples import neurons
from spikingtorch import plot

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
    for shade in ("light", "dark"):
        save(opening(dark=shade == "dark"), folder / f"opening-{shade}.svg")
        save(speed(dark=shade == "dark"), folder / f"speed-{shade}.svg")
    stems: dict[str, str] = {}
    for name, panel in subjects().items():
        stem = type(panel.layer).__name__
        if stem not in stems.values():
            for shade in ("light", "dark"):
                save(figure(panel, neurons, dark=shade == "dark"), folder / f"{stem}-{shade}.svg")
        stems[name] = stem
    return stems


def save(made: Figure, path: Path) -> None:
    """Write a picture without a ground, and without the date, so that it stays the same."""
    made.savefig(path, transparent=True, metadata={"Date": None})


def figure(panel: neurons.Panel, drawing: ModuleType, *, dark: bool) -> Figure:
    """Return the figure of one neuron above its input."""
    kept = {name: getattr(drawing, name) for name in LIGHT_INK}
    with shaded(dark=dark):
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


def opening(*, dark: bool) -> Figure:
    """Return the picture of the first page: sixty neurons under a current that rises and falls, and one membrane."""
    draws = torch.Generator().manual_seed(3)
    wave = 0.13 + 0.11 * torch.sin(torch.arange(160) / 12.7).unsqueeze(1)
    seen = neurons.watch(st.LIF(tau=8.0), wave + 0.12 * torch.randn(160, 60, generator=draws))
    with shaded(dark=dark):
        made = Figure(figsize=(5.6, 3.4), layout="constrained")
        above, below = made.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (2.6, 1)})
        plot.raster(seen.out.unsqueeze(0), ax=above)
        plot.traces(seen.states.v[None, :, :1], spikes=seen.out[None, :, :1], threshold=1.0, ax=below)
    above.set(xlabel="", ylabel="neuron")
    below.set(xlabel="time (steps)", ylabel="membrane")
    return made


RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "libraries.md"
LIBRARIES = {"spikingtorch": "spikingtorch", "snntorch": "snnTorch", "norse": "Norse", "spikingjelly": "SpikingJelly"}
LIBRARIES |= {"sinabs": "Sinabs"}


def speed(*, dark: bool) -> Figure:
    """Return the picture of the first table of ``libraries.md``: N = 512."""
    table = [line for line in RESULTS.read_text().splitlines() if "|" in line]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]
    column = next(k for k, cell in enumerate(rows[0]) if cell == "N = 512")
    times: dict[str, float] = {}
    for row in rows[1:]:
        if row[0] in LIBRARIES:
            times.setdefault(LIBRARIES[row[0]], float(row[column].split()[0]))
    with shaded(dark=dark):
        made = Figure(figsize=(5.6, 2.2), layout="constrained")
        axes = made.subplots()
        fastest, names = times["spikingtorch"], sorted(times, key=times.__getitem__, reverse=True)
        colors = ["#d55e00" if name == "spikingtorch" else "0.6" for name in names]
        bars = axes.barh(names, [times[name] for name in names], color=colors, log=True)
        said = [f" {times[name]:.3g} ms, {times[name] / fastest:.0f}x" for name in names]
        axes.bar_label(bars, said)
    axes.set_xlim(1.0, 20.0 * max(times.values()))
    axes.set_xticks([])
    axes.minorticks_off()
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    return made


@contextmanager
def shaded(*, dark: bool) -> Iterator[None]:
    """Have matplotlib draw for light or for dark pages, with letters as shapes, so that they need no font."""
    with style.context("dark_background" if dark else "default"):
        mpl.rcParams["svg.fonttype"] = "path"
        yield
