"""A network on one page: what came in, what each layer did, and what came out."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from spikingtorch.plot import inputs
from spikingtorch.plot.canvas import axes_for, color_bar, new_figure, time_label, whole_ticks
from spikingtorch.plot.marks import is_binary
from spikingtorch.plot.palette import GRAY, VERMILION, colors, diverging, ink, sequential
from spikingtorch.plot.raster import raster
from spikingtorch.plot.rates import rates
from spikingtorch.plot.traces import traces
from spikingtorch.watching.copies import copy_to_watch
from spikingtorch.watching.network import Network, check_network, check_sequences
from spikingtorch.watching.recording import Recording, record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Layers = Mapping[str, Mapping[str, Tensor]]
# rows of panels, each with the height of the row and the widths of its panels
_ROWS = (
    (3.2, {"input": 1.0, "raster": 2.0}),
    (2.6, {"share": 1.0, "rates": 1.3}),
    (2.4, {"traces": 2.0, "output": 1.0}),
)
_MOST_INPUTS = 256


@torch.no_grad()
def overview(
    model: Network,
    x: Tensor,
    *,
    targets: Tensor | None = None,
    sample: int = 0,
    dt: float = 1.0,
    unit: str | None = None,
) -> "Figure":
    """Run a network, and draw what it did on one page, as ``overview_of`` does.

    Args:
        model: a ``SpikingNet``. A copy of it runs, in training or not as it is, and everything stays as it was.
        x: its input, shape (N, T, ...).
        targets: class indices, shape (N,).
        sample: which of the N samples to draw; rates are those of all.
        dt: length of a step.
        unit: of time; left out, steps while dt is 1, and ms otherwise.

    Returns:
        The figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: x or targets do not fit.
        TypeError: model is no SpikingNet, or cannot be copied; the network returns several tensors.
    """
    check_network("overview", model)
    check_sequences("overview", x)
    with copy_to_watch("overview", model, x) as copied:
        seen = _seen(copied, x)
    if not isinstance(seen.out, Tensor):
        raise TypeError(
            f"overview: the network returns a {type(seen.out).__name__}, expected a torch.Tensor; record it, and draw "
            "one of the tensors: seen = record(model, x, ('spikes', 'v')), plot.overview_of(seen, seen.out[...], x)"
        )
    return overview_of(seen, seen.out, x, targets=targets, sample=sample, dt=dt, unit=unit)


def _seen(model: Any, x: Tensor) -> Recording:
    """Run a network, and return what the page shows of it."""
    try:
        return record(model, x.clone(), ("spikes", "v", "threshold"))
    except ValueError:
        # no layer has a membrane, or no layer a threshold; if something else is wrong, it is so here too
        return record(model, x.clone())


def overview_of(
    layers: Layers,
    out: Tensor,
    x: Tensor,
    *,
    targets: Tensor | None = None,
    sample: int = 0,
    dt: float = 1.0,
    unit: str | None = None,
) -> "Figure":
    """Draw what a network did: its input, the spikes of each layer, how many fire when and how often, and its output.

    Args:
        layers: for the name of each spiking layer its "spikes" and maybe its membranes "v", each (N, T, *neurons), as
            ``spikingtorch.record`` returns them. The membranes are those of the first layer that has some.
        out: output of the network, shape (N, T, ...).
        x: input, shape (N, T, ...).
        targets: class indices, shape (N,), one output for each class; that of the sample stands out in the output.
        sample: which of the N samples to draw; rates are those of all.
        dt: length of a step.
        unit: of time; left out, steps while dt is 1, and ms otherwise.

    Returns:
        The figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: there is no layer with spikes, or a shape, targets or sample do not fit.

    >>> spikes = torch.ones(2, 5, 3)  # samples, steps, neurons
    >>> figure = overview_of({"hidden": {"spikes": spikes, "v": 0.5 * spikes}}, spikes, spikes)
    >>> [ax.get_title(loc="left") for ax in figure.axes][:2]
    ['input', 'spikes of each layer']
    """
    firing = {_title(name): states for name, states in layers.items() if _is_firing(states)}
    spikes = {name: states["spikes"] for name, states in firing.items()}
    inputs.check_recordings("overview", "spikes", spikes)
    class_of = _class_of(targets, inputs.check_recording("overview", "out", out), sample)
    figure = new_figure(11.0, sum(height for height, _ in _ROWS) + 0.3 * max(0, len(spikes) - 5))
    panels = _panels(figure)
    _input(panels["input"], x, sample, dt, unit)
    raster(spikes, ax=panels["raster"], sample=sample, most=128, dt=dt, unit=unit)
    _share_over_time(panels["share"], spikes, dt, unit)
    legend: Any = rates(spikes, ax=panels["rates"], dt=dt, unit=unit).get_legend()
    legend.set_title("firing rates, all samples", {"size": "medium", "weight": "bold"})
    legend.set_alignment("left")
    legend.get_title().set_color(ink(panels["rates"]))
    titles = {"input": "input", "raster": "spikes of each layer", "share": "neurons that fire, all samples"}
    with_v = next((name for name, states in firing.items() if "v" in states), None)
    if with_v is None:
        panels["traces"].set_axis_off()
    else:
        _membranes(panels["traces"], firing[with_v], sample, dt, unit)
        titles["traces"] = f"membranes of {with_v}"
    titles["output"] = _output(panels["output"], out, sample, class_of, dt, unit)
    for name, title in titles.items():
        panels[name].set_title(title, loc="left", fontsize="medium", fontweight="bold", color=ink(panels[name]))
    return figure


def _panels(figure: "Figure") -> dict[str, "Axes"]:
    """Return the panels by their names: rows that are laid out one by one, so that none waits for another's labels."""
    found: dict[str, Axes] = {}
    boxes: Any = figure.subfigures(len(_ROWS), 1, height_ratios=[height for height, _ in _ROWS])
    for box, (_, widths) in zip(boxes, _ROWS, strict=True):
        drawn = box.subplots(1, len(widths), width_ratios=[*widths.values()])
        found |= {name: axes_for(ax) for name, ax in zip(widths, drawn, strict=True)}
    return found


def _title(name: str) -> str:
    """Return the name of a layer, which nn.Sequential makes of a number."""
    return f"layer {name}" if name.isdecimal() else name


def _is_firing(states: Mapping[str, Tensor]) -> bool:
    """Say whether a layer fires: it has a threshold, or gives out 0 and 1, or mostly nothing. No readout does."""
    spikes = states.get("spikes")
    if spikes is None or "threshold" in states:
        return spikes is not None
    return bool(((spikes == 0) | (spikes == 1)).all()) or bool((spikes != 0).double().mean() <= 0.5)


def _class_of(targets: Tensor | None, out: Tensor, sample: int) -> int | None:
    """Return the class of the sample, or None if classes are not known."""
    index = inputs.check_index("overview", "sample", sample, len(out), "samples in out")
    if targets is None:
        return None
    found = inputs.check_tensor("overview", "targets", targets)
    if found.shape != (len(out),):
        raise ValueError(
            f"overview: targets has shape {tuple(found.shape)}, expected ({len(out)},): a class per sample"
        )
    classes = out.shape[2:].numel()
    wrong = found[(found < 0) | (found >= classes)]
    if wrong.numel():
        raise ValueError(
            f"overview: targets holds {wrong[0].item()}, expected classes from 0 to {classes - 1}: the network returns "
            f"{classes} {'number' if classes == 1 else 'numbers'} a step. Leave targets out if they are no classes"
        )
    return int(found[index])


def _input(ax: "Axes", x: Tensor, sample: int, dt: float, unit: str | None) -> None:
    """Draw an input of spikes as a raster, and one of numbers as an image."""
    inputs.check_recording("overview", "x", x)
    seen = inputs.one_sample("overview", "x", x, sample)
    step = inputs.stride(seen.shape[1], _MOST_INPUTS)
    values = inputs.check_finite("overview", "x", inputs.as_array(seen[:, ::step]))
    if is_binary(values):
        raster(x, ax=ax, sample=sample, most=_MOST_INPUTS, dt=dt, unit=unit)
        return
    largest, signed = float(np.abs(values).max()), bool((values < 0).any())
    image = ax.imshow(
        values.T,
        cmap=diverging() if signed else sequential(ax),
        vmin=-largest if signed else 0.0,
        vmax=largest,
        aspect="auto",
        interpolation="nearest",
        origin="lower",
        extent=(-0.5 * dt, (len(seen) - 0.5) * dt, -0.5, seen.shape[1] - 0.5),
    )
    color_bar(ax, image)
    whole_ticks(ax.yaxis)
    ax.set(xlabel=time_label(dt, unit), ylabel=inputs.subset(step, seen.shape[1], "inputs"))


def _membranes(ax: "Axes", states: Mapping[str, Tensor], sample: int, dt: float, unit: str | None) -> None:
    """Draw membranes of a few neurons, with their spikes and thresholds as far as they were recorded."""
    spikes, threshold = states.get("spikes"), states.get("threshold")
    traces(states["v"], spikes=spikes, threshold=threshold, sample=sample, neurons=3, ax=ax, dt=dt, unit=unit)


def _share_over_time(ax: "Axes", spikes: Mapping[str, Tensor], dt: float, unit: str | None) -> None:
    """Draw for each layer the share of its neurons that fire at a step, over all samples."""
    for color, x in zip(colors(len(spikes), ax), spikes.values(), strict=True):
        flat = x.detach().flatten(2)
        share = 100 * inputs.as_array((flat != 0).sum((0, 2))) / (flat.shape[0] * flat.shape[2])
        ax.plot(np.arange(len(share)) * dt, share, color=color, linewidth=1.5, marker="o" if len(share) == 1 else "")
    ax.set(xlabel=time_label(dt, unit), ylabel="neurons (%)", ylim=(0.0, None))


def _output(ax: "Axes", out: Tensor, sample: int, class_of: int | None, dt: float, unit: str | None) -> str:
    """Draw the output over time, of spikes their mean so far, and return what stands above it."""
    values = inputs.check_finite("overview", "out", inputs.as_array(inputs.one_sample("overview", "out", out, sample)))
    steps, count = values.shape
    counted = is_binary(values)
    if counted:
        values = values.cumsum(0) / np.arange(1, steps + 1)[:, None]
    best = int(values.mean(0).argmax() if not counted else values[-1].argmax())
    times, marker = np.arange(steps) * dt, "o" if steps == 1 else ""
    for k in range(0, count, inputs.stride(count, 200)):
        ax.plot(times, values[:, k], color=GRAY, linewidth=0.8, alpha=0.6, marker=marker)
    ax.plot(times, values[:, best], color=ink(ax), linewidth=1.8, marker=marker)
    if class_of is not None:
        ax.plot(times, values[:, class_of], color=VERMILION, linewidth=1.8, marker=marker)
    ax.set(xlabel=time_label(dt, unit), ylabel="mean output so far" if counted else "output")
    if count == 1:
        return "output"
    known = "" if class_of is None else f", target {class_of}"
    return f"output: highest {best}{known}"
