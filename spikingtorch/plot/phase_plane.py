"""Phase planes: the direction of a neuron with two states at every point, and its trajectory."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from spikingtorch.functional import lift
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.plot import inputs
from spikingtorch.plot.canvas import GRAY, axes_for, colors, ink, legend_above
from spikingtorch.plot.inputs import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Limits = tuple[tuple[float, float], tuple[float, float]]
_ARROWS, _FINE = 19, 160


class _Neuron(NamedTuple):
    """A step with its parameters, its first state, and the names of two of its states."""

    step: Callable[[Any, Tensor], tuple[Any, Tensor]]
    start: Any
    states: tuple[str, str]


class _Field(NamedTuple):
    """One step from each point of a grid: the points, the changes, and where the neuron fires, each of shape (n, n)."""

    x: Array
    y: Array
    dx: Array
    dy: Array
    fires: Array


@torch.no_grad()
def phase_plane(
    neuron: StepLayer | Callable[..., Any],
    x: Tensor,
    *,
    start: Any = None,
    states: tuple[str, str] | None = None,
    limits: Limits | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw a neuron in the plane of two of its states: its trajectory, and the direction of one step at each point.

    Arrows of equal length show the direction of one step, for the last input of x. On a coloured line, a nullcline, one
    state does not change. Where two nullclines cross, neither does. In the gray area the next step fires. The
    trajectory under x is dark. It is dotted during a step with a spike.

    Args:
        neuron: a layer of one neuron, or a step ``(state, x) -> (state, spike)`` with its parameters bound, such as
            ``functools.partial(alif_step, decay=0.9, ...)``.
        x: input over time, floating, shape (T,).
        start: first state, a NamedTuple of numbers; by default the state of the layer at rest.
        states: names of the states on the horizontal and the vertical axis; by default the first two. The arrows hold
            other states at their values in ``start``.
        limits: the range to show, ((left, right), (bottom, top)); by default the trajectory with a margin.
        ax: where to draw; by default a new figure, ``phase_plane(...).figure``.

    Returns:
        The axes.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: x is not a floating tensor, neuron cannot be called, or a step comes without ``start``.
        ValueError: x is not of shape (T,), there are fewer than two states or several neurons, or a value to draw is
            infinite.

    >>> from spikingtorch import Izhikevich
    >>> ax = phase_plane(Izhikevich(dt=0.25), torch.full((400,), 10.0))
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('v', 'w')
    """
    ax = axes_for(ax, 4.8, 4.0)
    x = lift(_check_input(x))
    found = _neuron(neuron, x, start, states)
    path, fired = _trajectory(found, x)
    (left, right), (bottom, top) = limits or (_around(path[:, 0]), _around(path[:, 1]))
    shown = ((left, right), (bottom, top))
    fine = _field(found, x[-1], shown, _FINE)
    ax.contourf(fine.x, fine.y, fine.fires, levels=[0.5, 1.5], colors=[GRAY], alpha=0.2)
    _arrows(ax, _field(found, x[-1], shown, _ARROWS))
    for change, color in zip((fine.dx, fine.dy), colors(2, ax), strict=True):
        # a state that never changes, or that changes everywhere, has no nullcline
        if change.min() < 0 < change.max():
            ax.contour(fine.x, fine.y, np.where(fine.fires, np.nan, change), levels=[0.0], colors=[color])
    _draw_path(ax, path, fired)
    ax.set(xlim=(left, right), ylim=(bottom, top), xlabel=found.states[0], ylabel=found.states[1])
    _legend(ax, found.states, bool(fired.any()), bool(fine.fires.any()))
    return ax


def _check_input(x: object) -> Tensor:
    found = inputs.check_tensor("phase_plane", "x", x)
    if not found.is_floating_point():
        raise TypeError(f"phase_plane: x has dtype {found.dtype}, expected a floating one; convert it with x.float()")
    if found.ndim != 1 or not len(found):
        raise ValueError(
            f"phase_plane: x has shape {tuple(found.shape)}, expected (T,): the input of one neuron at each step, such "
            "as torch.full((400,), 10.0)"
        )
    inputs.check_finite("phase_plane", "x", inputs.as_array(found))
    return found.detach()


def _neuron(neuron: Any, x: Tensor, start: Any, states: tuple[str, str] | None) -> _Neuron:
    """Return the step of a neuron, its first state and the names of the two states to draw."""
    step: Any
    params: dict[str, Any]
    if isinstance(neuron, StepLayer):
        step, params = neuron.whole_step()
        start = neuron.initial_state(x[:1]) if start is None else start
    elif not callable(neuron) or isinstance(neuron, torch.nn.Module):
        raise TypeError(f"phase_plane: neuron is a {type(neuron).__name__}, expected a spiking layer or a step")
    elif start is None:
        raise TypeError("phase_plane: a step needs start=, its first state, such as LIFState(v=torch.zeros(1))")
    else:
        step, params = neuron, {}
    names: tuple[str, ...] = getattr(start, "_fields", ())
    single = all(isinstance(each, Tensor | float | int) for each in start)
    if len(names) < 2 or not single:
        raise ValueError(
            f"phase_plane: the state {type(start).__name__} has the fields {list(names)}, expected two states or "
            "more, each a number. traces(v) draws a neuron with one state; a layer must have neither recurrent= "
            "nor refractory="
        )
    pair = states or (names[0], names[1])
    if len(pair) != 2 or not {*pair} <= {*names} or pair[0] == pair[1]:
        raise ValueError(f"phase_plane: states={states!r}, expected two of {names}")
    make: Any = type(start)
    first = make(*[torch.as_tensor(each, dtype=x.dtype).reshape(-1) for each in start])
    after = step(first, x[:1], **params)[0]
    if any(len(each) != 1 for each in first) or any(each.numel() != 1 for each in after):
        raise ValueError("phase_plane: the layer has parameters or states for several neurons, expected those of one")
    return _Neuron(lambda state, now: step(state, now, **params), first, pair)


def _trajectory(neuron: _Neuron, x: Tensor) -> tuple[Array, Array]:
    """Return the two states at the start and after each step, shape (T + 1, 2), and at which steps it fired, (T,)."""
    state, seen, outs = neuron.start, [neuron.start], []
    for now in x.split(1):
        state, out = neuron.step(state, now)
        seen.append(state)
        outs.append(out.reshape(1))
    path = torch.stack([torch.cat([getattr(each, name).reshape(1) for each in seen]) for name in neuron.states], dim=1)
    found = inputs.check_finite("phase_plane", "the state under x", inputs.as_array(path))
    return found, _spikes(inputs.as_array(torch.cat(outs)))


def _spikes(out: Array) -> Array:
    """Say where an output is a spike; one that is nowhere zero is none."""
    fires: Array = out != 0
    return fires & (not fires.all() or out.size == 1)


def _around(values: Array) -> tuple[float, float]:
    """Return limits around values, with a margin."""
    low, high = float(values.min()), float(values.max())
    margin = 0.15 * (high - low) or 0.5
    return low - margin, high + margin


def _field(neuron: _Neuron, x: Tensor, limits: Limits, count: int) -> _Field:
    """Return the change by one step from each point of a grid."""
    sides = [torch.linspace(low, high, count, dtype=x.dtype) for low, high in limits]
    right, up = (each.flatten() for each in torch.meshgrid(*sides, indexing="xy"))
    points = dict(zip(neuron.states, (right, up), strict=True))
    state = neuron.start._replace(**points)
    full = type(state)(*[each.expand(len(right)) for each in state])
    after, out = neuron.step(full, x.expand(len(right)))
    changes = [getattr(after, name) - points[name] for name in neuron.states]
    x0, y0, dx, dy = (inputs.as_array(each).reshape(count, count) for each in (right, up, *changes))
    return _Field(x0, y0, dx, dy, _spikes(inputs.as_array(out)).reshape(count, count))


def _arrows(ax: "Axes", field: _Field) -> None:
    """Draw arrows of one length on the screen, but none where a step fires or changes nothing."""
    width, height = np.ptp(field.x), np.ptp(field.y)
    length = np.hypot(field.dx / width, field.dy / height)
    still = field.fires | (length == 0) | ~np.isfinite(length)
    length = np.where(still, 1.0, length) * (_ARROWS + 3)
    dx, dy = (np.ma.masked_array(np.where(still, 0.0, each / length), still) for each in (field.dx, field.dy))
    ax.quiver(
        field.x, field.y, dx, dy, color=GRAY, alpha=0.75, angles="xy", scale_units="xy", scale=1.0, width=0.0028,
        headwidth=4.0, headlength=4.5, pivot="mid",
    )  # fmt: skip


def _draw_path(ax: "Axes", path: Array, fired: Array) -> None:
    """Draw the trajectory: a line with gaps at the spikes, which dotted lines fill."""
    breaks = np.flatnonzero(fired) + 1
    line = np.insert(path, breaks, np.nan, axis=0)
    ax.plot(*line.T, color=ink(ax), linewidth=1.2)
    jumps = np.stack([path[breaks - 1], path[breaks], np.full((len(breaks), 2), np.nan)], axis=1).reshape(-1, 2)
    ax.plot(*jumps.T, color=ink(ax), linewidth=0.9, linestyle=":")
    ax.plot(*path[0], "o", color=ink(ax), markersize=5)


def _legend(ax: "Axes", states: tuple[str, str], spikes: bool, fires: bool) -> None:
    dark = ink(ax)
    ax.plot([], [], "o-", color=dark, markersize=5, linewidth=1.2, label="trajectory")
    if spikes:
        ax.plot([], [], ":", color=dark, linewidth=0.9, label="spike")
    for name, color in zip(states, colors(2, ax), strict=True):
        ax.plot([], [], color=color, label=f"{name}-nullcline")
    if fires:
        ax.plot([], [], "s", color=GRAY, alpha=0.3, markersize=9, label="fires")
    legend_above(ax)
