"""Histograms of firing rates, which show silent and saturated layers."""

from typing import TYPE_CHECKING

from spikingtorch.plot import inputs
from spikingtorch.plot.activity import activity_of, draw_rates
from spikingtorch.plot.canvas import axes_for
from spikingtorch.plot.inputs import Recordings

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
