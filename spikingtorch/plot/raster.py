"""Rasters: a mark for each spike, time to the right, neurons above each other."""

from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from torch import Tensor

from spikingtorch.plot import inputs
from spikingtorch.plot.canvas import (
    GRAY,
    axes_for,
    colors,
    draw_disks,
    draw_ticks,
    ink,
    is_binary,
    label_time,
    legend_above,
    tick_width,
    whole_ticks,
)
from spikingtorch.plot.inputs import Array, Recordings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Labels = Tensor | Sequence[object]
# the length of a step, and how wide a tick is
_Tick = tuple[float, float]
# of a band of a layer, the share that its neurons take
_FILLED = 0.92


class _Rows(NamedTuple):
    """The spikes of every ``step``-th neuron of one layer, of all of its neurons, for one sample."""

    values: Array  # (T, rows)
    step: int
    total: int


def raster(
    spikes: Recordings,
    *,
    ax: "Axes | None" = None,
    sample: int = 0,
    labels: Labels | None = None,
    most: int = 256,
    dt: float = 1.0,
    unit: str | None = None,
    batch_first: bool | None = None,
) -> "Axes":
    """Draw the spikes of one sample: every nonzero entry, at the time of its step times dt.

    In a single recording, neurons stand at their indices; images are flattened. Several recordings, by the names of
    their layers, have a band each, the first at the bottom. Spikes other than 0 and 1 are disks whose area is the
    magnitude of the value. A ring stands for a negative value.

    Args:
        spikes: shape (N, T, *neurons), of any real dtype or bool; or several of them by the names of their layers, as
            ``spikingtorch.record`` returns them.
        ax: where to draw; by default a new figure, ``raster(...).figure``.
        sample: which of the N samples.
        labels: for a single recording, a label for each neuron, a tensor or a sequence: neurons of one label have one
            colour.
        most: the largest number of neurons of a layer to draw. If it has more, evenly spaced ones are drawn, and the
            axis says so.
        dt: length of a step.
        unit: unit of time; by default steps if dt is 1, and ms otherwise.
        batch_first: False for (T, N, ...), time first; by default the order of a recording of ``record``, or True.

    Returns:
        The axes.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: spikes are not a real tensor.
        ValueError: a recording has no axis of neurons, is empty or holds NaN; sample, labels, most or dt do not fit.

    >>> import torch
    >>> spikes = (torch.rand(8, 100, 4096) < 0.05).float()  # samples, steps, neurons
    >>> raster(spikes, most=512).get_ylabel()
    'every 8th of 4,096 neurons'
    """
    ax = axes_for(ax, 6.0, 3.2)
    most, dt = inputs.check_most("raster", "most", most), inputs.check_dt("raster", dt)
    first = inputs.order_of("raster", spikes, batch_first)
    given = inputs.check_recordings("raster", "spikes", inputs.in_order(spikes, first), first)
    layers = {name: _rows(name, x, sample, most) for name, x in given.items()}
    steps = max(len(rows.values) for rows in layers.values())
    tick = dt, tick_width(steps, dt)
    if isinstance(spikes, Tensor):
        _one(ax, layers[""], labels, tick)
    elif labels is None:
        _bands(ax, layers, tick)
    else:
        raise ValueError(
            "raster: labels are those of the neurons of one recording, and several came; colours are taken"
        )
    ax.set_xlim(-0.5 * dt, (steps - 0.5) * dt)
    label_time(ax, dt, unit)
    return ax


def _rows(name: str, x: Tensor, sample: int, most: int) -> _Rows:
    count = x[0, 0].numel()
    step = inputs.stride(count, most)
    title = f"spikes[{name!r}]" if name else "spikes"
    return _Rows(inputs.one_sample("raster", title, x, sample, slice(None, None, step)), step, count)


def _one(ax: "Axes", rows: _Rows, labels: Labels | None, tick: _Tick) -> None:
    """Draw one recording, with the index of each neuron on the axis."""
    shades = np.full(rows.values.shape[1], ink(ax), dtype=object)
    if labels is not None:
        each = _label_of_each(labels, rows.total)
        named = dict(zip(sorted({*each}, key=_order), colors(len({*each}), ax), strict=True))
        shades = np.array([named[label] for label in each], dtype=object)[:: rows.step]
        for label, color in named.items():
            ax.plot([], [], "s", color=color, label=str(label), markersize=5)
        legend_above(ax)
    _draw(ax, rows, np.arange(rows.values.shape[1]) * float(rows.step), 0.8 * rows.step, shades, tick)
    ax.set_ylim(-0.5, rows.total - 0.5)
    whole_ticks(ax.yaxis)
    if rows.step == 1:
        ax.set_ylabel("neuron")
    else:
        ax.set_ylabel(inputs.subset(rows.step, rows.total, "neurons"), fontsize="small")


def _bands(ax: "Axes", layers: dict[str, _Rows], tick: _Tick) -> None:
    """Draw a band of equal height for each layer, whatever its number of neurons."""
    for k, ((_, rows), color) in enumerate(zip(layers.items(), colors(len(layers), ax), strict=True)):
        height = _FILLED / rows.total
        y = k + (1 - _FILLED) / 2 + height * (np.arange(rows.values.shape[1]) * rows.step + 0.5 * rows.step)
        shades = np.full(len(y), color, dtype=object)
        _draw(ax, rows, y, min(0.8 * height * rows.step, 0.3), shades, tick)
        if k:
            ax.axhline(k, color=GRAY, linewidth=0.5)
    texts = [f"{name}\n{inputs.subset(rows.step, rows.total, 'neurons')}" for name, rows in layers.items()]
    ax.set_yticks([k + 0.5 for k in range(len(layers))], texts, fontsize="small")
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(0, len(layers))


def _draw(ax: "Axes", rows: _Rows, y: Array, height: float, shades: Array, tick: _Tick) -> None:
    """Draw the spikes of one layer: ticks for spikes of 0 and 1, and disks for others."""
    times, neurons = rows.values.nonzero()
    xy = np.stack([times * tick[0], y[neurons]], axis=1)
    if is_binary(rows.values):
        one = len({*shades}) == 1
        draw_ticks(ax, xy, tick[1], height, shades[0] if one else [*shades[neurons]])
        return
    sizes = rows.values[times, neurons]
    largest = float(np.abs(sizes).max())
    draw_disks(ax, xy, np.abs(sizes) / largest, shades[neurons], sizes > 0)
    below = "; rings: below zero" if (sizes < 0).any() else ""
    ax.set_title(f"area: value, largest {largest:.3g}{below}", loc="right", fontsize="small", color=ink(ax))


def _label_of_each(labels: Labels, count: int) -> list[object]:
    """Return a label for each neuron; raise if their number differs."""
    each = labels.flatten().tolist() if isinstance(labels, Tensor) else [*labels]
    if len(each) != count:
        raise ValueError(f"raster: labels has {len(each):,} entries, expected {count:,}: one for each neuron")
    return each


def _order(label: object) -> tuple[bool, float, str]:
    """Sort numbers by their size, before names."""
    return (True, 0.0, str(label)) if not isinstance(label, Real) else (False, float(label), "")
