"""Histograms of firing rates: which layers are silent, and which fire all the time."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from spikingtorch.plot import inputs
from spikingtorch.plot.canvas import axes_for, legend_above, legend_text, time_unit
from spikingtorch.plot.inputs import Array, Recordings
from spikingtorch.plot.palette import colors

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def rates(
    spikes: Recordings, *, ax: "Axes | None" = None, bins: int = 25, dt: float = 1.0, unit: str | None = None
) -> "Axes":
    """Draw how many neurons of each layer fire how often, and say how many never do, or at each step.

        rate of a neuron = share of its steps, over all samples, at which it spikes, divided by dt

    A silent neuron has spiked at no step of any sample, a saturated one at all of them. A layer with many of either
    learns little.

    Args:
        spikes: shape (N, T, *neurons), of any real dtype or bool; or several of them by the names of their layers, as
            ``spikingtorch.record`` returns them.
        ax: where to draw; left out, a new figure, ``rates(...).figure``.
        bins: number of bars from zero to the highest rate.
        dt: length of a step.
        unit: of time; left out, steps while dt is 1, and ms otherwise.

    Returns:
        The axes.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: spikes are no real tensor.
        ValueError: a recording has no axis of neurons, is empty or holds NaN; bins or dt do not fit.

    >>> import torch
    >>> spikes = torch.tensor([[[0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]]])  # samples, steps, neurons
    >>> rates({"hidden": spikes}).get_legend_handles_labels()[1]
    ['hidden: 25% silent, 25% saturated']
    """
    given = inputs.check_recordings("rates", "spikes", spikes)
    ax, dt = axes_for(ax, 5.0, 3.0), inputs.check_dt("rates", dt)
    bins = inputs.check_most("rates", "bins", bins)
    found = {name: share_of_steps(name, x) for name, x in given.items()}
    highest = max(float(rate.max()) for rate in found.values()) or 1.0
    edges = np.linspace(0.0, highest, bins + 1)
    for (name, rate), color in zip(found.items(), colors(len(found), ax), strict=True):
        shares = 100 * np.histogram(rate, edges)[0] / len(rate)
        silent, saturated = float((rate == 0).mean()), float((rate == 1).mean())
        text = f"{silent:.0%} silent, {saturated:.0%} saturated"
        ax.stairs(
            shares, edges / dt, color=color, linewidth=1.5, label=legend_text(f"{name}: {text}" if name else text)
        )
        ax.stairs(shares, edges / dt, color=color, fill=True, alpha=0.12)
    legend_above(ax)
    ax.set(xlim=(0.0, highest / dt), ylim=(0.0, None), ylabel="neurons (%)")
    ax.set_xlabel(f"firing rate (spikes per {time_unit(dt, unit, 'step')})")
    return ax


def share_of_steps(name: str, spikes: Tensor) -> Array:
    """Return for each neuron the share of the steps of all samples at which it spikes, shape (neurons,)."""
    title = f"spikes[{name!r}]" if name else "spikes"
    flat = spikes.detach().flatten(2)
    if not bool(torch.isfinite(flat).all()):
        inputs.check_finite("rates", title, inputs.as_array(flat))
    # a count in doubles: exact, so that a rate of 1 is 1
    return inputs.as_array((flat != 0).sum((0, 1))) / (flat.shape[0] * flat.shape[1])
