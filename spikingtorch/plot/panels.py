"""The panels of an overview that show one sample: its input, some membranes, and the output of the network."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from torch import Tensor

from spikingtorch.plot import inputs
from spikingtorch.plot.canvas import color_bar, image_of, label_time, whole_ticks
from spikingtorch.plot.inputs import Array
from spikingtorch.plot.marks import is_binary
from spikingtorch.plot.palette import GRAY, VERMILION, ink
from spikingtorch.plot.raster import raster
from spikingtorch.plot.traces import traces

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Layers = Mapping[str, Mapping[str, Tensor]]
_MOST_INPUTS = 256


class Sample(NamedTuple):
    """A network's activity for one of several samples.

    Attributes:
        layers: for the name of each layer that fires, its "spikes" and possibly its membranes "v" and "threshold".
        out: output of the network, shape (N, T, ...).
        x: input, shape (N, T, ...).
        sample: which of the N samples.
        class_of: its class; None if classes are not known.
    """

    layers: Layers
    out: Tensor
    x: Tensor
    sample: int
    class_of: int | None


def draw_input(ax: "Axes", of: Sample, dt: float, unit: str | None) -> None:
    """Draw an input of spikes as a raster, and an input of other numbers as an image."""
    x = inputs.check_recording("overview", "x", of.x)
    seen = inputs.one_sample("overview", "x", x, of.sample)
    step = inputs.stride(seen.shape[1], _MOST_INPUTS)
    values = inputs.check_finite("overview", "x", inputs.as_array(seen[:, ::step]))
    if is_binary(values):
        raster(x, ax=ax, sample=of.sample, most=_MOST_INPUTS, dt=dt, unit=unit)
    else:
        _image(ax, values, seen.shape[1], dt)
        label_time(ax, dt, unit)
    what = inputs.subset(step, seen.shape[1], "inputs")
    ax.set_ylabel(what, fontsize="small" if step > 1 else "medium")


def _image(ax: "Axes", values: Array, count: int, dt: float) -> None:
    """Draw numbers (T, rows) of inputs as an image; colours are symmetric around zero if some are negative."""
    extent = (-0.5 * dt, (len(values) - 0.5) * dt, -0.5, count - 0.5)
    image = image_of(ax, values.T, bool((values < 0).any()), aspect="auto", origin="lower", extent=extent)
    color_bar(ax, image)
    whole_ticks(ax.yaxis)


def draw_membranes(ax: "Axes", of: Sample, layer: str, dt: float, unit: str | None) -> None:
    """Draw membranes of a few neurons that fire, with their spikes and thresholds as far as they were recorded."""
    states = of.layers[layer]
    spikes, threshold = states["spikes"], states.get("threshold")
    firing = (spikes[of.sample].flatten(1) != 0).any(0).nonzero().flatten().tolist()
    neurons = [firing[k * len(firing) // 3] for k in range(min(3, len(firing)))] or 3
    traces(states["v"], spikes=spikes, threshold=threshold, sample=of.sample, neurons=neurons, ax=ax, dt=dt, unit=unit)


def draw_output(ax: "Axes", of: Sample, dt: float, unit: str | None) -> str:
    """Draw the output over time (for spikes, their running mean), and return its title."""
    seen = inputs.one_sample("overview", "out", of.out, of.sample)
    values = inputs.check_finite("overview", "out", inputs.as_array(seen))
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
