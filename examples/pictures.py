"""Pictures of a training run: learning curves, and what a network makes of sequences."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor
from torch.utils.data import TensorDataset

from spikingtorch import SpikingNet, plot, record

INK = "#1b1b3a"
ACCENT = "#d1495b"
# in pixels: sharp on a page that is 800 wide, at two pixels of the screen for one of the page
WIDTH = 1600


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG that is sharp and small, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=WIDTH / figure.get_figwidth())
    with Image.open(path) as image:
        # few colours, and a third of the bytes
        image.convert("RGB").quantize(96).save(path, optimize=True)


def learning_curves(path: Path, losses: Sequence[float], accuracies: Sequence[float]) -> None:
    """Draw loss and test accuracy against the epoch."""
    epochs = range(1, len(losses) + 1)
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, losses, color=INK, marker="o", markersize=4)
    left.set(xlabel="epoch", ylabel="training loss (cross entropy)", ylim=(0, None))
    right.plot(epochs, [100 * accuracy for accuracy in accuracies], color=ACCENT, marker="o", markersize=4)
    right.set(xlabel="epoch", ylabel="test accuracy (%)")
    best = max(accuracies)
    right.axhline(100 * best, color=INK, linewidth=0.6, linestyle=":")
    right.annotate(f"best {best:.1%}", (1, 100 * best), xytext=(0, -12), textcoords="offset points", color=INK)
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def sequences_and_curves(
    path: Path,
    model: SpikingNet,
    layers: tuple[str, str],
    data: TensorDataset,
    curves: Mapping[str, Sequence[float]],
    levels: Mapping[str, float],
) -> None:
    """Draw three sequences and what a network makes of them, beside the learning curves of several networks.

    Args:
        path: where the PNG goes.
        model: the network.
        layers: names of its spiking layer and of its readout, a membrane for each class.
        data: sequences (T, 1) and labels; the first three are drawn.
        curves: test accuracies after each epoch by the names of networks; the last one stands out.
        levels: accuracies of others, for lines across the curves.
    """
    figure = Figure(figsize=(13, 5.6), layout="constrained")
    grid = figure.add_gridspec(3, 4, width_ratios=(1, 1, 1, 1.9), height_ratios=(1, 1.7, 1.2))
    for column, (sequence, label) in enumerate(zip(*data[:3], strict=True)):
        seen = record(model, sequence.unsqueeze(0))
        spikes, membranes = (seen[name]["spikes"][0].detach() for name in layers)
        panels = [figure.add_subplot(grid[row, column]) for row in range(3)]
        _sequence(panels, sequence.flatten(), spikes, membranes, int(label))
        for panel, quantity in zip(panels, ("input", "neuron", "readout membrane"), strict=True):
            panel.set(xlim=(-0.6, len(sequence) - 0.4), ylabel="" if column else quantity)
            panel.tick_params(labelbottom=panel is panels[-1])
            panel.set_xlabel("time (steps)" if panel is panels[-1] else "")
            panel.spines[["top", "right"]].set_visible(False)
    _curves(figure.add_subplot(grid[:, 3]), curves, levels)
    save(figure, path)


def _sequence(panels: Sequence[Axes], sequence: Tensor, spikes: Tensor, membranes: Tensor, label: int) -> None:
    steps = range(len(sequence))
    panels[0].plot(steps, sequence, color=INK, linewidth=1.2)
    panels[0].set(title=f"a {label}, read as {int(membranes.amax(0).argmax())}", ylim=(-4, 4))
    plot.raster(spikes.unsqueeze(0), ax=panels[1])
    for digit, membrane in enumerate(membranes.T):
        color, alpha, order = (ACCENT, 1.0, 3) if digit == label else (INK, 0.25, 2)
        panels[2].plot(steps, membrane, color=color, alpha=alpha, zorder=order, linewidth=1.2)


def _curves(axes: Axes, curves: Mapping[str, Sequence[float]], levels: Mapping[str, float]) -> None:
    height = 0.0
    for name, percent in sorted(levels.items(), key=lambda level: level[1]):
        axes.axhline(percent, color=INK, linewidth=0.6, linestyle=":")
        height = max(percent, height + 2.8)  # names of near levels stand above each other
        place = ("axes fraction", "data")
        axes.annotate(f"{name} {percent:g}%", (1.01, height), xycoords=place, color=INK, fontsize=8, va="center")
    styles = [(INK, 1.2, ":"), (INK, 1.2, "--"), (ACCENT, 2.0, "-")][-len(curves) :]
    for (name, reached), (color, width, style) in zip(curves.items(), styles, strict=True):
        label, percents = f"{name}: {reached[-1]:.1%}", [100 * share for share in reached]
        axes.plot(range(1, len(reached) + 1), percents, style, color=color, linewidth=width, label=label)
    axes.set(xlabel="epoch", ylabel="test accuracy (%)", ylim=(0, 100))
    axes.legend(loc="lower right", frameon=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
