"""A network of ReLUs is trained, converted and run with spikes: accuracy and operations against the number of steps.

Once with ``nn.ReLU`` and once with ``ClipFloor``, which is trained for few steps. The picture goes to
docs/images/convert.png, or wherever ``--picture`` says. At the end, the network of ReLUs is trained on for one epoch as
a spiking one, at one step and at eight.
"""

import argparse
import copy
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from examples import data
from examples.pictures import ACCENT, INK, save
from examples.training import accuracy, positive, train_epoch
from spikingtorch import SpikingNet, summary
from spikingtorch.convert import ClipFloor, to_spiking
from spikingtorch.spikeio import ConstantEncoder, RateDecoder

STEPS = (1, 2, 4, 8, 16, 32)
STYLES = {"ReLU": (INK, "--"), "ClipFloor": (ACCENT, "-")}


class Run(NamedTuple):
    """What became of one ANN.

    Attributes:
        ann: its test accuracy.
        macs: its products for one image.
        accuracies: of the spiking network, by the number of steps.
        synops: its synaptic operations for one image, by the number of steps.
    """

    ann: float
    macs: float
    accuracies: list[float]
    synops: list[float]


def network(activation: Callable[[], nn.Module]) -> nn.Sequential:
    """Return an ANN, images (N, 1, 28, 28) to (N, 10)."""
    layers: list[nn.Module] = []
    for ins, outs in ((1, 8), (8, 16)):
        layers += [nn.Conv2d(ins, outs, 5, padding=2, bias=False), nn.BatchNorm2d(outs), activation(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2), nn.Linear(16 * 7 * 7, 10))


def classifier(model: SpikingNet, T: int) -> nn.Sequential:
    """Return a network of images (N, 1, 28, 28) to (N, 10): a spiking one, shown each image for T steps."""
    return nn.Sequential(ConstantEncoder(T), model, RateDecoder())


def trained(ann: nn.Module, loader: DataLoader[tuple[Tensor, ...]], options: argparse.Namespace, name: str) -> None:
    """Train an ANN."""
    optimizer, loss = torch.optim.Adam(ann.parameters(), lr=0.003, weight_decay=1e-4), 0.0
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)
    for epoch in range(1, options.epochs + 1):
        loss = train_epoch(ann, loader, optimizer, f"{name}, epoch {epoch}", options.batches)
        schedule.step()
    print(f"{name}: trained for {options.epochs} epochs, loss {loss:.3f}", flush=True)


def train_on(spiking: nn.Module, loader: DataLoader[tuple[Tensor, ...]], options: argparse.Namespace) -> None:
    """Train a spiking network for one epoch."""
    optimizer = torch.optim.Adam(spiking.parameters(), lr=3e-4)
    train_epoch(spiking, loader, optimizer, "with spikes", options.batches)


def measured(ann: nn.Module, model: SpikingNet, test: TensorDataset) -> Run:
    """Return accuracies and operations of an ANN and of what it was converted to."""
    images = test.tensors[0][:100]
    found = [summary(model, ConstantEncoder(T)(images)) for T in STEPS]
    accuracies = [accuracy(classifier(model, T), test) for T in STEPS]
    return Run(accuracy(ann, test), found[0].dense, accuracies, [each.synops for each in found])


def draw(path: Path, runs: dict[str, Run]) -> None:
    """Draw accuracy and operations against the number of steps."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, run in runs.items():
        color, line = STYLES[name]
        label = f"{name}: the ANN has {run.ann:.1%} (thin line)"
        left.plot(STEPS, [100 * each for each in run.accuracies], line, color=color, marker="o", ms=4, label=label)
        left.axhline(100 * run.ann, color=color, linestyle=line, linewidth=0.6)
        right.plot(STEPS, [each / 1e6 for each in run.synops], line, color=color, marker="o", ms=4)
    macs = next(iter(runs.values())).macs / 1e6
    right.axhline(macs, color=INK, linewidth=0.6, linestyle=":")
    right.annotate("products of the ANN", (1, macs), xytext=(0, 4), textcoords="offset points", color=INK)
    left.set(ylabel="test accuracy (%)")
    right.set(ylabel="operations per image (millions)", ylim=(0, None))
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(STEPS, [str(T) for T in STEPS])
        axes.set(xlabel="steps T")
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(loc="lower right", frameon=False)
    save(figure, path)


def main() -> None:
    """Train, convert, measure, draw, and train on."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=positive, default=8)
    parser.add_argument("--batches", type=positive, help="stop each epoch after so many batches of 32 (default: all)")
    parser.add_argument("--picture", type=Path, default=Path("docs/images/convert.png"))
    parser.add_argument("--method", choices=("robust", "quantile", "max"), default="robust", help="for thresholds")
    options = parser.parse_args()
    train, test = data.load("digits")
    loader = DataLoader(train, batch_size=32, shuffle=True)
    some = train.tensors[0][:500]
    runs: dict[str, Run] = {}
    models: dict[str, SpikingNet] = {}
    activations: dict[str, Callable[[], nn.Module]] = {"ReLU": nn.ReLU, "ClipFloor": lambda: ClipFloor(levels=4)}
    for name, activation in activations.items():
        torch.manual_seed(0)
        ann = network(activation)
        trained(ann, loader, options, name)
        models[name] = to_spiking(ann, [some], method=options.method)
        models[name].time_chunk = 4  # in memory for four steps
        runs[name] = measured(ann, models[name], test)
        print(f"{name}: test accuracy of the ANN {runs[name].ann:6.1%}, {runs[name].macs / 1e6:.2f} M products")
        for T, reached, synops in zip(STEPS, runs[name].accuracies, runs[name].synops, strict=True):
            print(f"  T = {T:2}   test accuracy {reached:6.1%}   {synops / 1e6:5.2f} M synaptic operations")
    draw(options.picture, runs)
    for T in (1, 8):
        spiking = classifier(copy.deepcopy(models["ReLU"]), T)
        train_on(spiking, loader, options)
        before, after = runs["ReLU"].accuracies[STEPS.index(T)], accuracy(spiking, test)
        print(f"ReLU, T = {T}: test accuracy {before:.1%}, after one more epoch with spikes {after:.1%}", flush=True)


if __name__ == "__main__":
    main()
