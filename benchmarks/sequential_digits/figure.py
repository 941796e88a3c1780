"""The figure of sequential digits: accuracy by epoch, and memory by the number of steps."""

from pathlib import Path
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmarks.sequential_digits.page import LABELS, STEPS, Cost, Curves
from examples.pictures import ACCENT, INK, save

STYLES = {
    "BPTT": (INK, "-", "o"),
    "exact": ("#7b5ea7", "-", "P"),
    "diagonal": (ACCENT, "-", "s"),
    "presynaptic": ("#1f8a8a", "--", "^"),
    "last_step": ("#8d8d9d", ":", "D"),
}


def draw(path: Path, reached: dict[str, dict[str, Curves]], costs: dict[str, dict[str, Cost]]) -> None:
    """Draw accuracy against epoch for the large networks, and memory against steps."""
    names = [name for name in reached if name.startswith(("rows", "permuted"))]
    figure = Figure(figsize=(13, 3.7), layout="constrained")
    panels = figure.subplots(1, len(names) + 1)
    shown = [100 * each for name in names for seeds in reached[name].values() for curve in seeds for each in curve]
    limits = (min(shown, default=0.0) - 3.0, max(shown, default=100.0) + 3.0)
    for axes, name in zip(panels, names, strict=False):
        for way, seeds in reached[name].items():
            _accuracy(axes, way, seeds)
        axes.set(title=name, xlabel="epoch", ylim=limits)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0].set_ylabel("test accuracy (%)")
    for way, each in costs["rows, recurrent"].items():
        color, line, marker = STYLES[way]
        panels[-1].plot(STEPS, [each.short, each.long], line, color=color, marker=marker, markersize=5)
    panels[-1].set(title="memory, rows, recurrent", xlabel="steps", ylabel="MB", ylim=(0, None), xticks=STEPS)
    for axes in panels:
        axes.title.set(fontsize=10, color=INK)
        axes.grid(axis="y", color="#8d8d9d", alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    lines, labels = panels[0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside upper center", ncols=len(lines), frameon=False, fontsize=10)
    save(figure, path)


def _accuracy(axes: Axes, way: str, seeds: Curves) -> None:
    """Draw the mean over seeds, and a band from the lowest to the highest one."""
    if not seeds:
        return
    color, line, marker = STYLES[way]
    percents = [[100 * each for each in column] for column in zip(*seeds, strict=True)]
    epochs = range(1, len(percents) + 1)
    axes.fill_between(epochs, list(map(min, percents)), list(map(max, percents)), color=color, alpha=0.12, linewidth=0)
    means = list(map(mean, percents))
    axes.plot(epochs, means, line, color=color, marker=marker, markersize=4, linewidth=1.6, label=LABELS[way])
