"""Digits that arrive step by step, learned by BPTT and by online rules: a table and a figure of the accuracies.

python -m benchmarks.sequential_digits                  28 permuted pixels a step, two seeds, half an hour on one core
python -m benchmarks.sequential_digits --pixels 1       one pixel a step, 784 steps: many hours
python -m benchmarks.sequential_digits --table          the page, of what is trained
"""

import argparse
import os
from pathlib import Path
from statistics import mean, stdev

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmarks.launch import HERE
from benchmarks.report import table
from benchmarks.sequential_recipe import SETTINGS, Options, train_all
from benchmarks.worker import run_machine
from examples.pictures import ACCENT, INK, save
from examples.training import positive

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
STYLES = {
    "BPTT": (INK, "-", "o"),
    "diagonal": (ACCENT, "-", "s"),
    "presynaptic": ("#1f8a8a", "--", "^"),
    "last_step": ("#8d8d9d", ":", "D"),
}
# seeds, then epochs
Curves = list[list[float]]
# by setting, then by way
Reached = dict[str, dict[str, Curves]]


def curves(found: dict[str, list[float]], options: Options) -> Reached:
    """Return the accuracies that have been reached with these options, for each setting and way."""
    return {
        name: {
            way: [found[key] for seed in range(100) if (key := options.key(name, way, seed)) in found]
            for way in setting.ways
        }
        for name, setting in SETTINGS.items()
    }


def page(reached: Reached, options: Options, picture: str) -> str:
    """Return the page, which shows a picture by its path."""
    machine = run_machine({})
    text = f"""# Sequential digits

{", ".join(machine[key] for key in ("date", "CPU", "commit"))}, one thread

    python -m benchmarks.sequential_digits --epochs {options.epochs} --pixels {options.pixels}

Networks of LIF neurons read digits step by step. Each way to compute the gradient trains the same networks, by one
recipe ([sequential_recipe.py](../sequential_recipe.py)).

- *rows*: the 28 rows of an image, one a step, and two layers of 64 neurons.
- *permuted*: the pixels in one random order, {options.pixels} a step, and the same networks.
- *small rows*: images of half the size and one layer of 16 neurons, where "exact" is affordable.

An epoch has {options.digits:,} digits; 1,000 others test.

![Accuracy by epoch]({picture})
"""
    return "\n".join([text, accuracies(reached, options), published(reached)])


def accuracies(reached: Reached, options: Options) -> str:
    """Return the table of test accuracies after the last epoch."""
    rows = []
    for name, of_way in reached.items():
        counts = {len(each) for each in of_way.values()}
        seeds = f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
        rows.append([name, seeds, *(_shown(of_way.get(way, [])) for way in LABELS)])
    title = f"Test accuracy in percent after {options.epochs} epochs, mean ± standard deviation over seeds"
    return table(title, ["", "seeds", *LABELS.values()], rows)


def _shown(curves: Curves) -> str:
    last = [100 * each[-1] for each in curves]
    if len(last) < 2:
        return f"{last[0]:.1f}" if last else ""
    return f"{mean(last):.1f} ± {stdev(last):.1f}"


def published(reached: Reached) -> str:
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


def draw(path: Path, reached: Reached) -> None:
    """Draw accuracy against epoch for the large networks."""
    names = [name for name in reached if name.startswith(("rows", "permuted"))]
    figure = Figure(figsize=(10.5, 3.7), layout="constrained")
    panels = figure.subplots(1, len(names), sharey=True)
    panels[0].set_ylabel("test accuracy (%)")
    for axes, name in zip(panels, names, strict=True):
        for way, seeds in reached[name].items():
            _accuracy(axes, way, seeds)
        axes.set(xlabel="epoch")
        axes.set_title(name, fontsize=10, color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(labelleft=True)
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


def main(arguments: list[str] | None = None) -> None:
    """Train what is not trained yet, and write the page and its figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sequential_digits", description=__doc__)
    parser.add_argument("--epochs", type=positive, default=4)
    parser.add_argument("--seeds", type=positive, default=2)
    parser.add_argument("--pixels", type=int, choices=(1, 2, 4, 7, 8, 14, 16, 28, 49, 56), default=28)
    parser.add_argument("--digits", type=positive, default=4000, help="so many in an epoch")
    parser.add_argument("--table", action="store_true", help="train nothing")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="folder of page and results")
    parser.add_argument("--figure", type=Path, default=HERE.parent / "docs" / "images" / "sequential_digits.png")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    options = Options(given.epochs, given.pixels, given.digits)
    results = given.output / "sequential-digits.json"
    reached = curves(train_all(results, 0 if given.table else given.seeds, options), options)
    draw(given.figure, reached)
    text = page(reached, options, Path(os.path.relpath(given.figure, given.output)).as_posix())
    results.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
