"""Firing rates: of each neuron over all steps, and of all neurons at each step."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from torch import Tensor

from spikingtorch.plot import inputs
from spikingtorch.plot.canvas import axes_for, colors, label_time, legend_above, legend_text, time_unit
from spikingtorch.plot.inputs import Array, Recordings
from spikingtorch.units import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Activity(NamedTuple):
    """The firing rates of the neurons of one layer."""

    rates: Array  # the share of the steps of all samples at which each neuron spikes, shape (neurons,)
    shares: Array  # the share of neurons that spike at each step, over all samples, shape (T,)
    samples: int


def activity_of(owner: str, name: str, spikes: Tensor) -> Activity:
    """Return the firing rates of a recording (N, T, *neurons); owner and the layer's name are for messages."""
    flat = spikes.detach().flatten(2)
    fired = flat != 0
    if not bool(flat.isfinite().all()):
        inputs.check_finite(owner, f"spikes[{name!r}]" if name else "spikes", inputs.as_array(flat))
    samples, steps, neurons = flat.shape
    # counts in doubles are exact, so that a rate of 1 is 1
    rates = inputs.as_array(fired.sum((0, 1))) / (samples * steps)
    return Activity(rates, inputs.as_array(fired.sum((0, 2))) / (samples * neurons), samples)


def draw_rates(ax: "Axes", layers: Mapping[str, Activity], bins: int, dt: float, unit: str | None) -> None:
    """Draw a histogram of each layer's firing rates; the legend names the shares of silent and saturated neurons."""
    highest = max(float(layer.rates.max()) for layer in layers.values()) or 1.0
    edges = np.linspace(0.0, highest, bins + 1)
    for (name, (rates, *_)), color in zip(layers.items(), colors(len(layers), ax), strict=True):
        shares = 100 * np.histogram(rates, edges)[0] / len(rates)
        silent, saturated = float((rates == 0).mean()), float((rates == 1).mean())
        text = f"{percent(silent)} silent, {percent(saturated)} saturated"
        ax.stairs(
            shares, edges / dt, color=color, linewidth=1.5, label=legend_text(f"{name}: {text}" if name else text)
        )
        ax.stairs(shares, edges / dt, color=color, fill=True, alpha=0.12)
    legend_above(ax)
    ax.set(xlim=(0.0, highest / dt), ylim=(0.0, None), ylabel="neurons (%)")
    ax.set_xlabel(f"firing rate (spikes per {time_unit(dt, unit, 'step')})")


def draw_shares(ax: "Axes", layers: Mapping[str, Activity], dt: float, unit: str | None) -> None:
    """Draw for each layer the share of its neurons that fire, over time."""
    for color, layer in zip(colors(len(layers), ax), layers.values(), strict=True):
        steps = len(layer.shares)
        ax.plot(np.arange(steps) * dt, 100 * layer.shares, color=color, linewidth=1.5, marker="o" if steps == 1 else "")
    label_time(ax, dt, unit)
    ax.set(ylabel="neurons (%)", ylim=(0.0, None))


def rates(
    spikes: Recordings,
    *,
    ax: "Axes | None" = None,
    bins: int = 25,
    dt: float = 1.0,
    unit: str | None = None,
    batch_first: bool | None = None,
) -> "Axes":
    """Draw a histogram of each layer's firing rates, with the shares of silent and saturated neurons.

        rate of a neuron = share of its steps, over all samples, at which it spikes, divided by dt

    A silent neuron has spiked at no step of any sample, a saturated neuron at all steps. A layer with many of either
    learns little. There are ``bins`` bars from zero to the highest rate; the other arguments are those of ``raster``.

    Returns:
        The axes.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: spikes are not a real tensor.
        ValueError: a recording has no axis of neurons, is empty or holds NaN; bins or dt do not fit.

    >>> import torch
    >>> spikes = torch.tensor([[[0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]]])  # samples, steps, neurons
    >>> rates({"hidden": spikes}).get_legend_handles_labels()[1]
    ['hidden: 25% silent, 25% saturated']
    """
    first = inputs.order_of("rates", spikes, batch_first)
    given = inputs.check_recordings("rates", "spikes", inputs.in_order(spikes, first), first)
    ax, dt = axes_for(ax, 5.0, 3.0), inputs.check_dt("rates", dt)
    bins = inputs.check_most("rates", "bins", bins)
    draw_rates(ax, {name: activity_of("rates", name, x) for name, x in given.items()}, bins, dt, unit)
    return ax
