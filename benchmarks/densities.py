"""Layers that skip zeros against torch's own, by the density of their inputs: a table, a picture and a verdict."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
import torch.nn.functional as nnf
from torch import Tensor
from tqdm import tqdm

from benchmarks.launch import HERE, Options
from benchmarks.report import number, table
from benchmarks.subject import Call, in_turns
from examples.pictures import ACCENT, INK
from spikingtorch import functional as F
from spikingtorch.functional.sparse.autograd import marked_support, run
from spikingtorch.functional.sparse.c_abi import Shape
from spikingtorch.functional.sparse.crossover import most_events, most_sampled
from spikingtorch.functional.sparse.operations import Convolution, Linear, Operation
from spikingtorch.functional.sparse.operations import Layer as LayerCall

DENSITIES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 1.0)
# of the places where the gradient of the input is wanted
PARTS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
# how much slower than torch a layer may be that SpikingNet takes by itself
ALLOWED = 1.03
PICTURE = HERE.parent / "docs" / "images" / "events.png"
QUIET = "#8d8d9d"


class Layer(NamedTuple):
    """A layer in both forms, and the shapes of its input and weights."""

    operation: Operation
    event: Callable[..., Tensor]
    dense: Callable[..., Tensor]
    x: tuple[int, ...]
    weight: tuple[int, ...]


def _linear(rows: int, size: int) -> Layer:
    return Layer(Linear(), F.event_linear, nnf.linear, (rows, size), (size, size))


def _convolution(images: int, channels: int, outputs: int, side: int, kernel: int, padding: int) -> Layer:
    event, dense = (functools.partial(form, padding=padding) for form in (F.event_conv2d, nnf.conv2d))
    operation, shape = Convolution((1, 1), (padding, padding)), (images, channels, side, side)
    return Layer(operation, event, dense, shape, (outputs, channels, kernel, kernel))


LAYERS = {
    "Linear 512 to 512, 8,000 rows": _linear(8000, 512),
    "Linear 2048 to 2048, 8,000 rows": _linear(8000, 2048),
    "Linear 512 to 512, 256 rows": _linear(256, 512),
    "3 x 3 convolution, 64 to 64, 32 x 32": _convolution(64, 64, 64, 32, 3, 1),
    "3 x 3 convolution, 128 to 256, 16 x 16": _convolution(64, 128, 256, 16, 3, 1),
    "4 x 4 convolution, 4 to 6, 13 x 13": _convolution(2048, 4, 6, 13, 4, 0),
}


class Timed(NamedTuple):
    """Milliseconds of one layer at one density, by a kernel of ours and by torch."""

    density: float
    event: float
    dense: float


def compare(options: Options, machine: Mapping[str, str]) -> int:
    """Time all layers, write table and picture, and return 1 if a shipped crossover is wrong on this machine."""
    rounds = 3 if options.quick else 7
    found, gradients = (
        {
            name: [time(layer, each, rounds) for each in tqdm(densities, desc=f"{name}, {what}", leave=False)]
            for name, layer in LAYERS.items()
        }
        for what, time, densities in (("layer", time_layer, DENSITIES), ("gradient", time_gradient, PARTS))
    )
    verdicts = [_verdict(name, shipped(layer), found[name]) for name, layer in LAYERS.items()]
    sampled = [_verdict(name, shipped(layer, most_sampled), gradients[name]) for name, layer in LAYERS.items()]
    text = "\n".join(
        [
            *_tables(found, "forward and gradient of the weights, by the part of the inputs that is not zero"),
            table(_TITLE, _HEADER, [row for row, _ in verdicts]),
            *_tables(gradients, "gradient of the input, by the part of the places where it is wanted"),
            table(_TITLE, _HEADER, [row for row, _ in sampled]),
        ]
    )
    print(text)
    options.output.mkdir(parents=True, exist_ok=True)
    page = options.output / "densities.md"
    facts = ", ".join(f"{machine[key]}" for key in ("date", "CPU", "commit"))
    page.write_text(f"# Layers that skip zeros, by density\n\n{facts}, {torch.get_num_threads()} threads\n\n{text}")
    draw(options.output / "densities.png" if options.quick else PICTURE, found)
    print(f"Written to {page}")
    return int(not all(fine for _, fine in verdicts + sampled))


def time_layer(layer: Layer, density: float, rounds: int) -> Timed:
    """Return how long both forms take, in turns."""
    torch.manual_seed(0)
    x = (torch.rand(layer.x) < density).float()
    weight = torch.randn(layer.weight) / layer.weight[1] ** 0.5
    if x.ndim == 4:
        x, weight = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (x, weight))
    weight.requires_grad_()
    with torch.no_grad():
        g = torch.randn_like(layer.dense(x, weight))

    def trained(form: Callable[..., Tensor]) -> Call:
        return lambda: torch.autograd.grad(form(x, weight), weight, g)

    return _in_turns(density, rounds, trained(layer.event), trained(layer.dense))


def time_gradient(layer: Layer, density: float, rounds: int) -> Timed:
    """Return how long the gradient of the input takes where it is wanted at some places, and everywhere."""
    torch.manual_seed(0)
    x, support, weight = torch.zeros(layer.x), torch.rand(layer.x) < density, torch.randn(layer.weight)
    if x.ndim == 4:
        x, support, weight = (each.contiguous(memory_format=torch.channels_last) for each in (x, support, weight))
    call = LayerCall(layer.operation, x.requires_grad_(), weight)
    some, everywhere = run(call, None, marked_support(call, support, support.numel())), layer.dense(x, weight)
    g = torch.randn_like(everywhere)

    def marked() -> object:
        marked_support(call, support, support.numel())
        return torch.autograd.grad(some, x, g, retain_graph=True)

    return _in_turns(density, rounds, marked, lambda: torch.autograd.grad(everywhere, x, g, retain_graph=True))


def _in_turns(density: float, rounds: int, event: Call, dense: Call) -> Timed:
    """Return the medians of two forms."""
    found = in_turns({"event": event, "dense": dense}, rounds)
    return Timed(density, **{name: 1e3 * median(times) for name, times in found.items()})


_TITLE = "What SpikingNet takes by itself"
_HEADER = ["", "up to, as shipped", "faster up to, here", "at the shipped bound, time over torch's", "verdict"]


def shipped(layer: Layer, most: Callable[[Shape], int] = most_events) -> float:
    """Return the density up to which ``SpikingNet`` takes a kernel of ours."""
    size = torch.Size(layer.x).numel()
    return most(layer.operation.shape(layer.x, layer.weight)) / size


def _verdict(name: str, bound: float, times: Sequence[Timed]) -> tuple[list[str], bool]:
    """Return a row, and whether a kernel is not slower than torch's function wherever it is taken."""
    crossing = max([t.density for t in times if t.event < t.dense], default=0.0)
    taken = [t.event / t.dense for t in times if t.density <= bound]
    fine = not taken or max(taken) <= ALLOWED
    last = f"{taken[-1]:.2f}" if taken else ""
    return [name, f"{bound:.0%}" if bound else "never", f"{crossing:.1%}", last, "pass" if fine else "FAIL"], fine


def _tables(found: dict[str, list[Timed]], what: str) -> Iterable[str]:
    header = ["", *(f"{t.density:.1%}" for t in next(iter(found.values())))]
    rows = [[name, *(number(t.dense / t.event) for t in times)] for name, times in found.items()]
    yield table(f"Times as fast as torch, {what}", header, rows)
    rows = [[name, *(number(t.event) for t in times)] for name, times in found.items()]
    yield table(f"Milliseconds, {what}", header, rows)


def draw(path: Path, found: dict[str, list[Timed]]) -> None:
    """Draw the time of both forms against the density, a panel a layer."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(10, 5.6), layout="constrained")
    panels = figure.subplots(2, 3, sharex=True).flat
    for panel, (name, times) in zip(panels, found.items(), strict=True):
        densities, bound = [100 * t.density for t in times], 100 * shipped(LAYERS[name])
        if bound:
            panel.axvspan(0.95 * densities[0], bound, color=ACCENT, alpha=0.08, linewidth=0)
        panel.plot(densities, [t.dense for t in times], color=INK, linestyle="--", marker="s", markersize=3,
                   label="torch, all numbers")  # fmt: skip
        panel.plot(densities, [t.event for t in times], color=ACCENT, marker="o", markersize=4, label="zeros skipped")
        panel.set(xscale="log", yscale="log", xlim=(0.95 * densities[0], 1.05 * densities[-1]))
        panel.set_title(name, fontsize=9, color=INK)
        panel.set_xticks([0.5, 1, 5, 20, 100], ["0.5", "1", "5", "20", "100"])
        panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panel.minorticks_off()
        panel.grid(axis="y", color=QUIET, alpha=0.25, linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    lines, names = figure.axes[0].get_legend_handles_labels()
    shade = Patch(color=ACCENT, alpha=0.15)
    figure.legend([*lines, shade], [*names, "where SpikingNet takes it by itself"], loc="outside upper center", ncols=3,
                  frameon=False, fontsize=9)  # fmt: skip
    figure.supxlabel("inputs that are not zero (%)", fontsize=9)
    figure.supylabel("milliseconds, forward and gradient of the weights", fontsize=9)
    figure.savefig(path, dpi=150)
