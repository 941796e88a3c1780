"""The page of sequential digits: tables of accuracy, memory and time of each way to a gradient, and the figure."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from benchmarks import launch
from benchmarks.launch import HERE
from benchmarks.report import number, table
from benchmarks.sequential_digits.recipe import BATCH, SETTINGS, WAYS, Options, network, sequences
from examples.memory import peak
from examples.pictures import ACCENT, INK, save

LABELS = {
    "BPTT": "BPTT",
    "exact": "exact",
    "diagonal": "diagonal (e-prop)",
    "presynaptic": "presynaptic (OTTT)",
    "last_step": "last_step (SLTT)",
}
# accuracy in percent on permuted MNIST pixel by pixel, after 100 epochs of 60,000 images
PUBLISHED = {
    "feed-forward": {"BPTT": 57.45, "presynaptic": 44.61, "last_step": 40.53},
    "recurrent": {"BPTT": 72.97, "diagonal": 52.88},
}
STEPS = (28, 112)
# those whose cost is measured
COSTLY = ("rows, feed-forward", "rows, recurrent", "small rows, recurrent")
# seeds, then epochs
Curves = list[list[float]]


class Cost(NamedTuple):
    """What the gradient of one batch costs.

    Attributes:
        short: MB, peak of the tensors that are allocated, over the first of ``STEPS``.
        long: the same over the second one.
        seconds: of one core, for an epoch of 4,000 digits.
    """

    short: float
    long: float
    seconds: float


def curves(found: dict[str, list[float]], options: Options) -> dict[str, dict[str, Curves]]:
    """Return the accuracies that have been reached with these options, for each setting and way."""
    return {
        name: {
            way: [found[key] for seed in range(100) if (key := options.key(name, way, seed)) in found]
            for way in setting.ways
        }
        for name, setting in SETTINGS.items()
    }


def cost(name: str, way: str, lengths: tuple[int, int] = STEPS) -> Cost:
    """Measure one batch of random numbers on one core."""
    setting = SETTINGS[name]
    steps, features = sequences(setting.task, torch.zeros(1, 1, 28, 28)).shape[1:]
    torch.manual_seed(0)
    model, y = network(features, setting), torch.arange(BATCH) % 10

    gradient, times = WAYS[way](model), []
    for _ in range(3):
        x = torch.rand(BATCH, steps, features)
        start = time.process_time()
        gradient(x, y)
        times.append(time.process_time() - start)
    model.zero_grad()
    del gradient

    def anew(x: Tensor) -> None:
        """With a new learner, whose traces count."""
        WAYS[way](model)(x, y)

    short, long = (peak(partial(anew, torch.rand(BATCH, length, features))) for length in lengths)
    return Cost(short, long, min(times) * 4000 / BATCH)


def costs_of(found: dict[str, list[float]], measure: Callable[[str, str], Cost] = cost) -> dict[str, dict[str, Cost]]:
    """Return the cost of each way, by setting; what is measured anew is added to the results."""
    for name in COSTLY:
        for way in SETTINGS[name].ways:
            if f"cost, {name}, {way}" not in found:
                found[f"cost, {name}, {way}"] = list(measure(name, way))
    return {name: {way: Cost(*found[f"cost, {name}, {way}"]) for way in SETTINGS[name].ways} for name in COSTLY}


def machine() -> str:
    """Return what everything is measured on."""
    facts = launch.run("machine", launch.Options("fused", [], True, 1, 1.0, HERE, 1))
    return ", ".join(facts[key] for key in ("date", "CPU", "commit"))


def page(
    reached: dict[str, dict[str, Curves]],
    costs: dict[str, dict[str, Cost]],
    options: Options,
    picture: str,
    measured_on: str,
) -> str:
    """Return the page, which shows a picture by its path."""
    text = f"""# Sequential digits

{measured_on}, one thread

    python -m benchmarks.sequential_digits --epochs {options.epochs} --pixels {options.pixels}

Networks of LIF neurons read digits step by step. Each way to compute the gradient trains the same networks, by one
recipe ([recipe.py](../sequential_digits/recipe.py)).

- *rows*: the 28 rows of an image, one a step, and two layers of 64 neurons.
- *permuted*: the pixels in one random order, {options.pixels} a step, and the same networks.
- *small rows*: images of half the size and one layer of 16 neurons, where "exact" is affordable.

An epoch has {options.digits:,} digits; 1,000 others test.

![Accuracy by epoch, and memory]({picture})
"""
    return "\n".join([text, accuracies(reached, options), prices(costs), published(reached)])


def accuracies(reached: dict[str, dict[str, Curves]], options: Options) -> str:
    """Return the table of test accuracies after the last epoch."""
    ways = list(WAYS)
    rows = []
    for name, of_way in reached.items():
        counts = {len(each) for each in of_way.values()}
        seeds = f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
        rows.append([name, seeds, *(_shown(of_way.get(way, [])) for way in ways)])
    title = f"Test accuracy in percent after {options.epochs} epochs, mean ± standard deviation over seeds"
    return table(title, ["", "seeds", *(LABELS[way] for way in ways)], rows)


def _shown(curves: Curves) -> str:
    last = [100 * each[-1] for each in curves]
    if len(last) < 2:
        return f"{last[0]:.1f}" if last else ""
    return f"{mean(last):.1f} ± {stdev(last):.1f}"


def prices(costs: dict[str, dict[str, Cost]]) -> str:
    """Return the table of memory and time."""
    rows = [
        [f"{name}, {LABELS[way]}", *map(number, each)] for name, of_way in costs.items() for way, each in of_way.items()
    ]
    header = ["", *(f"MB, {steps} steps" for steps in STEPS), "seconds an epoch"]
    return table(f"Peak memory of tensors for a batch of {BATCH}, and time of one core for 4,000 digits", header, rows)


def published(reached: dict[str, dict[str, Curves]]) -> str:
    """Return the table of distances to BPTT on permuted digits, beside those that neuroseqbench has published."""
    rows = []
    for net, theirs in PUBLISHED.items():
        ours = {
            way: 100 * mean(each[-1] for each in seeds) for way, seeds in reached[f"permuted, {net}"].items() if seeds
        }
        for way in ours:
            shown = [f"{theirs[way]:.1f}", f"{theirs[way] - theirs['BPTT']:+.1f}"] if way in theirs else ["", ""]
            rows.append([f"{net}, {LABELS[way]}", f"{ours[way]:.1f}", f"{ours[way] - ours['BPTT']:+.1f}", *shown])
    header = ["", "ours (%)", "to BPTT", "neuroseqbench (%)", "to BPTT"]
    return f"""{table("Permuted digits, beside the figures of neuroseqbench", header, rows)}
neuroseqbench: its [README](https://github.com/liyc5929/neuroseqbench), of the paper
[arXiv:2502.09449](https://arxiv.org/abs/2502.09449). It takes the 60,000 images of MNIST, one pixel a step, three
layers of 64, 256 and 256 neurons, and 100 epochs. So compare the order and the distances, not the accuracies.
"""


# --- the figure: accuracy by epoch, and memory by steps ---------------------------------------------------------------


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
