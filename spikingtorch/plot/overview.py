"""A network on one page: its input, the activity of each layer, and its output."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from spikingtorch.plot import inputs
from spikingtorch.plot.canvas import (
    GRAY,
    VERMILION,
    axes_for,
    color_bar,
    image_of,
    ink,
    is_binary,
    label_time,
    new_figure,
    whole_ticks,
)
from spikingtorch.plot.raster import raster
from spikingtorch.plot.rates import Activity, activity_of, draw_rates, draw_shares
from spikingtorch.plot.traces import traces
from spikingtorch.watching.network import Network, check_network, check_sequences, on_copy
from spikingtorch.watching.recording import Recording, record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


Layers = Mapping[str, Mapping[str, Tensor]]
_MOST_INPUTS = 256


class Sample(NamedTuple):
    """A network's activity for one of several samples."""

    layers: Layers  # for the name of each layer that fires, its "spikes" and possibly its membranes "v" and "threshold"
    out: Tensor  # of the network, (N, T, ...)
    x: Tensor  # its input, (N, T, ...)
    sample: int
    class_of: int | None  # its class; None if classes are not known


def draw_input(ax: "Axes", of: Sample, dt: float, unit: str | None) -> None:
    """Draw an input of spikes as a raster, and an input of other numbers as an image."""
    x = inputs.check_recording("overview", "x", of.x)
    count = x[0, 0].numel()
    step = inputs.stride(count, _MOST_INPUTS)
    values = inputs.one_sample("overview", "x", x, of.sample, slice(None, None, step))
    if is_binary(values):
        raster(x, ax=ax, sample=of.sample, most=_MOST_INPUTS, dt=dt, unit=unit)
    else:
        extent = (-0.5 * dt, (len(values) - 0.5) * dt, -0.5, count - 0.5)
        image = image_of(ax, values.T, bool((values < 0).any()), aspect="auto", origin="lower", extent=extent)
        color_bar(ax, image)
        whole_ticks(ax.yaxis)
        label_time(ax, dt, unit)
    ax.set_ylabel(inputs.subset(step, count, "inputs"), fontsize="small" if step > 1 else "medium")


def draw_output(ax: "Axes", of: Sample, dt: float, unit: str | None) -> str:
    """Draw the output over time (for spikes, their running mean), and return its title."""
    values = inputs.one_sample("overview", "out", of.out, of.sample)
    steps, count = values.shape
    counted = is_binary(values)
    if counted:
        values = values.cumsum(0) / np.arange(1, steps + 1)[:, None]
    last = values[-1] if counted else values.mean(0)
    best = int(last.argmax())
    times, marker = np.arange(steps) * dt, "o" if steps == 1 else ""
    for k in range(0, count, inputs.stride(count, 200)):
        ax.plot(times, values[:, k], color=GRAY, linewidth=0.8, alpha=0.6, marker=marker)
    ax.plot(times, values[:, best], color=ink(ax), linewidth=1.8, marker=marker)
    if of.class_of is not None:
        ax.plot(times, values[:, of.class_of], color=VERMILION, linewidth=1.8, marker=marker)
    label_time(ax, dt, unit)
    ax.set_ylabel("mean output so far" if counted else "output")
    if counted:
        top = float(values.max()) or 1.0
        ax.set_ylim(-0.03 * top, 1.05 * top)
    if count == 1:
        return "output"
    known = "" if of.class_of is None else f", target {of.class_of}"
    return f"output: {f'highest {best}' if last.max() > last.min() else 'all equal'}{known}"


# rows of panels, each with the height of the row and the widths of its panels
_ROWS = (
    (3.2, {"input": 1.0, "raster": 2.0}),
    (2.6, {"share": 1.0, "rates": 1.3}),
    (2.4, {"traces": 2.0, "output": 1.0}),
)


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
    """Run a network, and draw its activity on one page, as ``overview_of`` does.

    Args:
        model: a ``SpikingNet``. A copy of it runs, in the same training mode, and everything stays unchanged.
        x: input of the network.
        targets: class indices, shape (N,).
        sample: which of the N samples to draw; rates are over all samples.
        dt: length of a step.
        unit: of time; left out, steps while dt is 1, and ms otherwise.

    Returns:
        The figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: x or targets do not fit.
        TypeError: model is not a SpikingNet, or cannot be copied; the network returns several tensors.
    """
    check_network("overview", model)
    x = check_sequences("overview", x, model.batch_first)
    seen = on_copy("overview", model, partial(_seen, x=x), x)
    if not isinstance(seen.out, Tensor):
        raise TypeError(
            f"overview: the network returns a {type(seen.out).__name__}, expected a torch.Tensor; record it, and draw "
            "one of the tensors: seen = record(model, x, ('spikes', 'v')), plot.overview_of(seen, seen.out[...], x)"
        )
    return overview_of(seen, seen.out, x, targets=targets, sample=sample, dt=dt, unit=unit)


def _seen(model: Any, x: Tensor) -> Recording:
    """Run a network, and return the data of the page."""
    try:
        return record(model, x.clone(), ("spikes", "v", "threshold"))
    except ValueError:
        # no layer has a membrane, or none a threshold; any other error is raised here as well
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
    batch_first: bool | None = None,
) -> "Figure":
    """Draw a network's activity: its input, the spikes and firing rates of each layer, and its output.

    Args:
        layers: for the name of each spiking layer its "spikes" and possibly its membranes "v", each (N, T, *neurons),
            as from ``spikingtorch.record``. Membranes are drawn for the first layer that has them.
        out: output of the network, shape (N, T, ...).
        x: input, shape (N, T, ...).
        targets: class indices, shape (N,), for a network with one output per class; the class of the sample is
            highlighted.
        sample: which of the N samples to draw; rates are over all samples.
        dt: length of a step.
        unit: of time; left out, steps while dt is 1, and ms otherwise.
        batch_first: False for layers, out and x of (T, N, ...); by default the order of a recording of ``record``, or
            True.

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
    first = inputs.order_of("overview", layers, batch_first)
    layers, out, x = (inputs.in_order(each, first) for each in (layers, out, x))
    firing = {_title(name): states for name, states in layers.items() if _is_firing(states)}
    every = {name: states["spikes"] for name, states in firing.items()}
    spikes = inputs.check_recordings("overview", "spikes", every, first)
    activity = {name: activity_of("overview", name, each) for name, each in spikes.items()}
    out, x = (inputs.check_recording("overview", name, each, first) for name, each in (("out", out), ("x", x)))
    return draw_page(Sample(firing, out, x, sample, _class_of(targets, out, sample)), activity, dt, unit)


def draw_page(of: Sample, activity: Mapping[str, Activity], dt: float = 1.0, unit: str | None = None) -> "Figure":
    """Draw one sample, and the firing rates of its layers over all samples, which may be others and more."""
    figure = new_figure(11.0, sum(height for height, _ in _ROWS) + 0.3 * max(0, len(of.layers) - 5))
    panels = _panels(figure)
    draw_input(panels["input"], of, dt, unit)
    spikes = {name: states["spikes"] for name, states in of.layers.items()}
    raster(spikes, ax=panels["raster"], sample=of.sample, most=128, dt=dt, unit=unit)
    draw_shares(panels["share"], activity, dt, unit)
    draw_rates(panels["rates"], activity, 25, dt, unit)
    most = max(layer.samples for layer in activity.values())
    over = "this sample" if most == 1 else f"all {most:,} samples"
    legend: Any = panels["rates"].get_legend()
    legend.set_title(f"firing rates, {over}", {"size": "medium", "weight": "bold"})
    legend.set_alignment("left")
    legend.get_title().set_color(ink(panels["rates"]))
    titles = {"input": "input", "raster": "spikes of each layer", "share": f"neurons that fire, {over}"}
    with_v = next((name for name, states in of.layers.items() if "v" in states), None)
    if with_v is None:
        panels["traces"].set_axis_off()
    else:
        _draw_membranes(panels["traces"], of, with_v, dt, unit)
        titles["traces"] = f"membranes of {with_v}"
    titles["output"] = draw_output(panels["output"], of, dt, unit)
    for name, title in titles.items():
        panels[name].set_title(title, loc="left", fontsize="medium", fontweight="bold", color=ink(panels[name]))
    return figure


def _panels(figure: "Figure") -> dict[str, "Axes"]:
    """Return the panels by their names; each row has its own layout, so labels of one row do not move another."""
    found: dict[str, Axes] = {}
    boxes: Any = figure.subfigures(len(_ROWS), 1, height_ratios=[height for height, _ in _ROWS])
    for box, (_, widths) in zip(boxes, _ROWS, strict=True):
        drawn = box.subplots(1, len(widths), width_ratios=[*widths.values()])
        found |= {name: axes_for(ax) for name, ax in zip(widths, drawn, strict=True)}
    return found


def _title(name: str) -> str:
    """Return the name of a layer, which is a number in nn.Sequential."""
    return f"layer {name}" if name.isdecimal() else name


def _is_firing(states: Mapping[str, Tensor]) -> bool:
    """Return True if a layer fires: it has a threshold, or its outputs are 0 and 1, or mostly zero. No readout does."""
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


def _draw_membranes(ax: "Axes", of: Sample, layer: str, dt: float, unit: str | None) -> None:
    """Draw membranes of a few neurons that fire, with their spikes and thresholds as far as they were recorded."""
    states = of.layers[layer]
    spikes, threshold = states["spikes"], states.get("threshold")
    firing = (spikes[of.sample].flatten(1) != 0).any(0).nonzero().flatten().tolist()
    neurons = [firing[k * len(firing) // 3] for k in range(min(3, len(firing)))] or 3
    traces(states["v"], spikes=spikes, threshold=threshold, sample=of.sample, neurons=neurons, ax=ax, dt=dt, unit=unit)
