"""Traces of membranes, with the threshold and the spikes."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from spikingtorch.plot import inputs
from spikingtorch.plot.canvas import axes_for, colors, draw_ticks, ink, label_time, tick_width
from spikingtorch.plot.inputs import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# distance between traces, in heights of the highest trace
_APART = 1.45


def traces(
    v: Tensor,
    *,
    spikes: Tensor | None = None,
    threshold: Tensor | float | None = None,
    sample: int = 0,
    neurons: int | Sequence[int] = 4,
    ax: "Axes | None" = None,
    dt: float = 1.0,
    unit: str | None = None,
    batch_first: bool = True,
) -> "Axes":
    """Draw membranes over time, several neurons above each other, each with the values of its axis.

    All have one scale. A dotted line is the threshold. A tick above a trace is a spike, which the membrane after the
    reset does not show.

    Args:
        v: membranes, shape (N, T, *neurons).
        spikes: of the same shape.
        threshold: a number or a tensor that broadcasts to v: one value per neuron, or one per step and neuron.
        sample: which of the N samples.
        neurons: the number of evenly spaced neurons to draw, or the indices of the flattened neurons.
        ax: where to draw; by default a new figure, ``traces(...).figure``.
        dt: length of a step.
        unit: unit of time; by default steps if dt is 1, and ms otherwise.
        batch_first: False for (T, N, ...), time first.

    Returns:
        The axes.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: v, spikes or threshold are not real tensors.
        ValueError: v has no axis of neurons, is empty or holds NaN; another argument does not fit v.

    >>> import torch
    >>> ax = traces(torch.rand(1, 50, 3), threshold=1.0, neurons=[0, 2])
    >>> [text.get_text() for text in ax.texts]
    ['neuron 0', 'neuron 2']
    """
    if isinstance(threshold, Tensor) and isinstance(v, Tensor) and threshold.ndim == v.ndim:
        threshold = inputs.in_order(threshold, batch_first)
    v, spikes = (inputs.in_order(each, batch_first) for each in (v, spikes))
    inputs.check_recording("traces", "v", v, batch_first)
    ax, dt = axes_for(ax, 6.0, 3.0), inputs.check_dt("traces", dt)
    chosen = _chosen(neurons, v[0, 0].numel())
    part = partial(inputs.one_sample, "traces", sample=sample, neurons=chosen)
    values = part("v", v)
    limits = None if threshold is None else part("threshold", _as_large(threshold, v))
    fired = None if spikes is None else part("spikes", _like(spikes, v))
    low, high = _range(values, limits)
    apart = _APART * (high - low)
    times = np.arange(len(values)) * dt
    for k, (color, neuron) in enumerate(zip(colors(len(chosen), ax), chosen, strict=True)):
        base = k * apart
        ax.plot(times, values[:, k] + base, color=color, linewidth=1.2, marker="o" if len(times) == 1 else "")
        if limits is not None:
            _threshold(ax, times, limits[:, k] + base, dt)
        if fired is not None:
            when = times[fired[:, k] != 0]
            xy = np.stack([when, np.full(len(when), base + high + 0.2 * (high - low))], axis=1)
            draw_ticks(ax, xy, tick_width(len(times), dt), 0.16 * (high - low), color)
        if len(chosen) > 1:
            # beside the trace, but close to the middle of its band, so that two names cannot meet
            y = base + float(np.clip(np.median(values[:, k]), 0.75 * low + 0.25 * high, 0.25 * low + 0.75 * high))
            beside = ax.get_yaxis_transform()
            ax.text(1.01, y, f"neuron {neuron}", transform=beside, va="center", color=color, fontsize="small")
    _axis_of_values(ax, len(chosen), (low, high))
    ax.set_xlim(-0.5 * dt, (len(times) - 0.5) * dt)
    label_time(ax, dt, unit)
    ax.set_ylabel("membrane" if len(chosen) > 1 or v[0, 0].numel() == 1 else f"membrane of neuron {chosen[0]}")
    return ax


def _chosen(neurons: int | Sequence[int], count: int) -> list[int]:
    """Return the indices of the neurons to draw."""
    if isinstance(neurons, int | np.integer) and not isinstance(neurons, bool):
        number = min(inputs.check_most("traces", "neurons", neurons), count)
        return [k * count // number for k in range(number)]
    if not isinstance(neurons, Sequence | Tensor | np.ndarray) or isinstance(neurons, str) or not len(neurons):
        raise TypeError(f"traces: neurons={neurons!r}, expected how many to draw, or a list of their indices")
    listed = neurons.tolist() if isinstance(neurons, Tensor | np.ndarray) else [*neurons]
    return [inputs.check_index("traces", "neurons", index, count, "neurons in v") for index in listed]


def _like(spikes: Tensor, v: Tensor) -> Tensor:
    if inputs.check_tensor("traces", "spikes", spikes).shape != v.shape:
        raise ValueError(f"traces: spikes has shape {tuple(spikes.shape)}, expected that of v, {tuple(v.shape)}")
    return spikes


def _as_large(threshold: Tensor | float, v: Tensor) -> Tensor:
    """Return the threshold of each sample, step and neuron."""
    found = inputs.check_tensor("traces", "threshold", torch.as_tensor(threshold, device=v.device))
    try:
        return found.expand(v.shape)
    except RuntimeError:
        raise ValueError(
            f"traces: threshold of shape {tuple(found.shape)} does not broadcast to v of shape {tuple(v.shape)}. One "
            f"value per neuron has shape {tuple(v.shape[2:])}"
        ) from None


def _range(values: Array, limits: Array | None) -> tuple[float, float]:
    """Return the lowest and the highest value to draw, which differ."""
    low, high = float(values.min()), float(values.max())
    if limits is not None:
        low, high = min(low, float(limits.min())), max(high, float(limits.max()))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _threshold(ax: "Axes", times: Array, limit: Array, dt: float) -> None:
    """Draw the threshold of a neuron, over the whole width if it is constant."""
    if (limit == limit[0]).all():
        times, limit = np.array([times[0] - 0.5 * dt, times[-1] + 0.5 * dt]), limit[[0, 0]]
    ax.plot(times, limit, color=ink(ax), linewidth=0.9, linestyle=":")


def _axis_of_values(ax: "Axes", count: int, ends: tuple[float, float]) -> None:
    """Give each trace ticks at two or three round values, for any number of traces."""
    from matplotlib.ticker import MaxNLocator

    low, high = ends
    height = high - low
    if count > 1:
        places = [place for place in MaxNLocator(2).tick_values(low, high) if low <= place <= high]
        texts = [f"{place:.6g}".replace("-", "\N{MINUS SIGN}") for place in places]
        ax.set_yticks([k * _APART * height + p for k in range(count) for p in places], texts * count)
        ax.tick_params(axis="y", labelsize="small")
    ax.set_ylim(low - 0.08 * height, high + 0.32 * height + (count - 1) * _APART * height)
