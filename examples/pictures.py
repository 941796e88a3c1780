"""Pictures of a training run: learning curves and a spike raster."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from spikingtorch import SpikingNet

INK = "#1b1b3a"
ACCENT = "#d1495b"


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
    figure.savefig(path, dpi=150)


@torch.no_grad()
def spike_raster(
    path: Path, encoder: nn.Module, model: SpikingNet, layers: Mapping[str, nn.Module], image: Tensor
) -> None:
    """Draw one image (1, H, W), its spike train, and the spikes of each layer while the network looks at it.

    Args:
        path: where the PNG goes.
        encoder: image to train.
        model: the network.
        layers: the spiking layers to draw, by their titles; the last one is the output, a row for each class.
        image: pixels, shape (1, H, W).
    """
    record: dict[str, list[Tensor]] = {title: [] for title in layers}

    def recorder(title: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda _module, _inputs, out: record[title].append(out[0].flatten())

    stepwise = SpikingNet(model.net, model.Nout, mode="step")  # a hook is to see one step at a time
    hooks = [layer.register_forward_hook(recorder(title)) for title, layer in layers.items()]
    train = encoder(image.unsqueeze(0))
    try:
        stepwise(train)
    finally:
        for hook in hooks:
            hook.remove()
    trains = {"input spikes": train[0].flatten(1), **{title: torch.stack(steps) for title, steps in record.items()}}
    figure = Figure(figsize=(3 * (len(trains) + 1), 3.6), layout="constrained")
    axes = figure.subplots(1, len(trains) + 1)
    axes[0].imshow(image[0].numpy(), cmap="gray_r")
    axes[0].set(title="image", xticks=[], yticks=[])
    for panel, (title, spikes) in zip(axes[1:], trains.items(), strict=True):
        _raster(panel, title, spikes)
    counts = trains[list(layers)[-1]].sum(0)
    axes[-1].set_yticks(range(len(counts)))
    axes[-1].get_yticklabels()[int(counts.argmax())].set(color=ACCENT, fontweight="bold")
    figure.savefig(path, dpi=150)


def _raster(axes: Axes, title: str, spikes: Tensor) -> None:
    steps, neurons = spikes.numpy().nonzero()
    # a handful of neurons gets bars to count, hundreds get dashes whose density shows
    marker, size, width = ("|", 70, 2.5) if spikes.shape[1] <= 20 else ("_", 110, 0.7)
    axes.scatter(steps + 1, neurons, color=INK, marker=marker, s=size, linewidths=width)
    rate = float(spikes.mean())
    axes.set(title=f"{title}\n{rate:.0%} of neurons per step", xlabel="step", ylabel="neuron")
    axes.set(xlim=(0.4, len(spikes) + 0.6), ylim=(-0.02 * spikes.shape[1] - 0.5, spikes.shape[1] * 1.02))
    axes.set_xticks(range(1, len(spikes) + 1))
