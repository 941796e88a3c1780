"""What each node of NIR computes in one step of time, in numpy and float64, from the definitions in ``nir.ir``.

The second half of :mod:`spikingtorch.interop.nir.reference`: that file knows the graph, this one the nodes. Both are
written from the docstrings of the package ``nir`` alone and share no code with the models that they certify.

A node becomes a cell: a function of what arrives in a step, (N, *shape), that keeps the node's state. All state is zero
at first. Parameters broadcast to ``shape`` as in numpy. dt and the time constants have one unit, whichever it is.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import nir
import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

Array = npt.NDArray[np.float64]
Shape = tuple[int, ...]


class Grid(NamedTuple):
    """Steps of ``dt``, each in ``refine`` equal parts, and how an equation is solved over a part."""

    dt: float
    discretisation: str
    refine: int

    @property
    def part(self) -> float:
        """The length of a part, in the unit of dt."""
        return self.dt / self.refine


class Given(NamedTuple):
    """What a node gives out in a step and, if it has a threshold, the membrane that met it: both (N, *shape)."""

    value: Array
    membrane: Array | None = None


Cell = Callable[[Array], Given]
Build = Callable[[Any, Shape, Grid], Cell]
Equation = Callable[[Array, Array, Array], tuple[Array, Array]]  # (I, v, what arrives) -> (I, v), one part later


def build(node: Any, shape: Shape, grid: Grid) -> Cell:
    """Return the cell of a node into which signals of ``shape`` come, without the batch.

    Raises:
        ValueError: a parameter has a wrong shape or value.
    """
    return _BUILD[type(node)](node, shape, grid)


def is_known(node: Any) -> bool:
    """Say whether this file has the equations of a node of this class."""
    return type(node) in _BUILD


def is_neuron(node: Any) -> bool:
    """Say whether a node is a neuron: one with a membrane, or a Threshold. A Delay is none."""
    return type(node) in _EQUATIONS or type(node) is nir.Threshold


# -- neurons


class _Neuron:
    """A node with a membrane: in each part of a step its equation, then the threshold, then the reset.

    z = 1 where v > v_threshold, strictly, else 0; v := v_reset where z = 1. Source: nir.IF, nir.LIF, nir.CubaLIF.
    It gives out the number of spikes in the step or, without a threshold, v at the end of the step. The membrane is the
    one at the end of the step, in its last part, before the reset.
    """

    def __init__(self, advance: Equation, refine: int, threshold: Array | None = None, reset: Array | None = None):
        self.advance, self.refine = advance, refine
        self.threshold, self.reset = threshold, reset
        self.current: Array = np.zeros(())
        self.membrane: Array = np.zeros(())

    def __call__(self, arriving: Array) -> Given:
        """Go one step of ``grid.dt`` further, with what arrives held."""
        count = np.zeros_like(arriving)
        before_reset = count
        for _ in range(self.refine):
            self.current, before_reset = self.advance(self.current, self.membrane, arriving)
            self.membrane = before_reset
            if self.threshold is not None and self.reset is not None:
                spikes = before_reset > self.threshold
                self.membrane = np.where(spikes, self.reset, before_reset)
                count = count + spikes
        return Given(before_reset) if self.threshold is None else Given(count, before_reset)


def _neuron(node: Any, shape: Shape, grid: Grid) -> Cell:
    """Return the cell of I, IF, LI, LIF, CubaLI or CubaLIF."""
    advance = _EQUATIONS[type(node)](node, shape, grid)
    if not hasattr(node, "v_threshold"):
        return _Neuron(advance, grid.refine)
    return _Neuron(advance, grid.refine, _array(node, "v_threshold", shape), _array(node, "v_reset", shape))


def _integrator(node: Any, shape: Shape, grid: Grid) -> Equation:
    """Solve v' = r S over a part of length h: v := v + h r S. Source: nir.I, nir.IF."""
    r = _array(node, "r", shape)

    def advance(current: Array, v: Array, arriving: Array) -> tuple[Array, Array]:
        return current, v + grid.part * r * arriving

    return advance


def _leaky(node: Any, shape: Shape, grid: Grid) -> Equation:
    """Solve tau v' = (v_leak - v) + r S: v goes towards v_leak + r S. Source: nir.LI, nir.LIF."""
    r, v_leak = _array(node, "r", shape), _array(node, "v_leak", shape)
    share = _share(grid.part / _time_constant(node, "tau", shape), grid)

    def advance(current: Array, v: Array, arriving: Array) -> tuple[Array, Array]:
        return current, v + share * (v_leak + r * arriving - v)

    return advance


def _current_based(node: Any, shape: Shape, grid: Grid) -> Equation:
    """Solve tau_syn I' = -I + w_in S, tau_mem v' = (v_leak - v) + r I. Source: nir.CubaLI, nir.CubaLIF.

    "exponential" and "euler" solve the first equation, then the second with the new I held: semi-implicit, as
    simulators do. "exact" lets I vary inside the part: s after its start it is w_in S + (I - w_in S) exp(-s / tau_syn),
    of which the first term is held and the second fades; ``_faded`` is how much of the second reaches v.
    """
    r, v_leak, w_in = (_array(node, name, shape) for name in ("r", "v_leak", "w_in"))
    syn, mem = (grid.part / _time_constant(node, name, shape) for name in ("tau_syn", "tau_mem"))
    share_syn, share_mem, faded = _share(syn, grid), _share(mem, grid), _faded(syn, mem)

    def advance(current: Array, v: Array, arriving: Array) -> tuple[Array, Array]:
        drive = w_in * arriving
        new = current + share_syn * (drive - current)
        if grid.discretisation != "exact":
            return new, v + share_mem * (v_leak + r * new - v)
        return new, v + share_mem * (v_leak + r * drive - v) + faded * r * (current - drive)

    return advance


def _share(ratio: Array, grid: Grid) -> Array:
    """Return how much of its way to a held target x goes in h, for tau x' = target - x and ratio = h / tau.

    1 - exp(-h / tau), the exact solution; forward Euler: h / tau.
    """
    return ratio if grid.discretisation == "euler" else -np.expm1(-ratio)


def _faded(syn: Array, mem: Array) -> Array:
    """Return what a current that starts at 1 and fades adds to v in h; syn = h / tau_syn, mem = h / tau_mem.

    (1 / tau_mem) integral from 0 to h of exp(-(h - s) / tau_mem) exp(-s / tau_syn) ds
      = mem exp(-min(syn, mem)) (1 - exp(-d)) / d, with d = |syn - mem|; the quotient is 1 where d = 0.
    The slower of the two exponentials is taken out, so that nothing overflows; expm1 keeps the quotient accurate where
    the time constants are nearly equal.
    """
    distance = np.abs(syn - mem)
    apart = distance > 0
    quotient = np.where(apart, -np.expm1(-distance) / np.where(apart, distance, 1.0), 1.0)
    return np.asarray(mem * np.exp(-np.minimum(syn, mem)) * quotient)


def _threshold(node: Any, shape: Shape, _grid: Grid) -> Cell:
    """Give z = 1 where what arrives is above the threshold, strictly, else 0; no state. Source: nir.Threshold."""
    threshold = _array(node, "threshold", shape)
    return lambda arriving: Given((arriving > threshold).astype(np.float64), arriving)


# -- nodes without a membrane


def _identity(_node: Any, _shape: Shape, _grid: Grid) -> Cell:
    """Give what arrives. Source: nir.Input, nir.Output."""
    return Given


def _affine(node: Any, shape: Shape, _grid: Grid) -> Cell:
    """Give W x + b, or W x, for x: (*leading, in) and W: (*leading, out, in). Source: nir.Affine, nir.Linear."""
    weight = np.asarray(node.weight, dtype=np.float64)
    leading = weight.shape[:-2]  # all of them are axes of the signal: none may meet the batch, which stands before
    if shape[-1:] != weight.shape[-1:] or leading not in ((), shape[:-1]):
        raise ValueError(f"a weight of shape {weight.shape} does not fit what comes in, {shape}")
    bias = _array(node, "bias", (*shape[:-1], weight.shape[-2])) if type(node) is nir.Affine else 0.0
    return lambda x: Given(np.matmul(weight, x[..., np.newaxis])[..., 0] + bias)


def _scale(node: Any, shape: Shape, _grid: Grid) -> Cell:
    """Give scale x, element by element. Source: nir.Scale."""
    scale = _array(node, "scale", shape)
    return lambda x: Given(scale * x)


def _flatten(node: Any, shape: Shape, _grid: Grid) -> Cell:
    """Make one axis of start_dim to end_dim, both included and counted without the batch. Source: nir.Flatten."""
    start, end = int(node.start_dim), int(node.end_dim)
    rest = () if end == -1 else shape[end + 1 :]
    middle = shape[start:] if end == -1 else shape[start : end + 1]
    new = (*shape[:start], int(np.prod(middle)), *rest)
    return lambda x: Given(x.reshape(x.shape[0], *new))


def _delay(node: Any, shape: Shape, grid: Grid) -> Cell:
    """Give x(t - delay), zero before the start, with a delay for each element. Source: nir.Delay."""
    ratio = _array(node, "delay", shape) / grid.dt
    steps = np.rint(ratio)
    if not np.all(np.isfinite(ratio) & (ratio >= 0)) or np.any(np.abs(ratio - steps) > 1e-6 * ratio):
        raise ValueError(f"a delay must be zero or a whole number of steps of dt = {grid.dt}, got {node.delay}")
    past: deque[Array] = deque(maxlen=int(np.max(steps, initial=0)) + 1)

    def apply(x: Array) -> Given:
        past.appendleft(x)
        y = np.zeros_like(x)
        for age, value in enumerate(past):
            y = np.where(steps == age, value, y)
        return Given(y)

    return apply


def _convolution(node: Any, shape: Shape, _grid: Grid) -> Cell:
    """Give the cross-correlation of x with the weight, plus the bias. Source: nir.Conv1d, nir.Conv2d.

    x: (C_in, *space), weight: (C_out, C_in / groups, *kernel). One axis of space becomes two, the first of size 1.
    """
    weight = np.asarray(node.weight, dtype=np.float64)
    bias = _array(node, "bias", weight.shape[:1])
    axes, groups = weight.ndim - 2, int(node.groups)
    if len(shape) != axes + 1 or shape[0] != weight.shape[1] * groups:
        raise ValueError(f"a weight of shape {weight.shape} in {groups} groups does not fit what comes in, {shape}")
    missing = (1,) * (2 - axes)
    kernels = np.split(weight.reshape(*weight.shape[:2], *missing, *weight.shape[2:]), groups)
    stride, dilation = _pair(node.stride, axes, 1), _pair(node.dilation, axes, 1)
    padding = _padding(node, axes, kernels[0].shape[2:], stride, dilation)

    def apply(x: Array) -> Given:
        lifted = x.reshape(*x.shape[:2], *missing, *x.shape[2:])
        windows = _windows(lifted, kernels[0].shape[2:], stride, padding, dilation)
        inputs = np.split(windows, groups, axis=1)
        pairs = zip(inputs, kernels, strict=True)
        parts = [np.tensordot(each, kernel, ((1, 4, 5), (1, 2, 3))) for each, kernel in pairs]
        y = np.moveaxis(np.concatenate(parts, axis=-1) + bias, -1, 1)
        return Given(y.reshape(*y.shape[:2], *y.shape[4 - axes :]))

    return apply


def _padding(node: Any, axes: int, kernel: Shape, stride: Shape, dilation: Shape) -> list[tuple[int, int]]:
    """Return how many zeros stand before and after each axis; what "same" cannot share equally stands after."""
    if not isinstance(node.padding, str):
        return [(each, each) for each in _pair(node.padding, axes, 0)]
    if node.padding == "valid":
        return [(0, 0), (0, 0)]
    if stride != (1, 1):
        raise ValueError(f"padding 'same' is defined for a stride of 1, got {node.stride}")
    totals = [each * (size - 1) for each, size in zip(dilation, kernel, strict=True)]
    return [(total // 2, total - total // 2) for total in totals]


def _pool(node: Any, shape: Shape, _grid: Grid) -> Cell:
    """Give the sum or mean of each window of (C, H, W), padding included. Source: nir.SumPool2d, nir.AvgPool2d."""
    if len(shape) != 3:
        raise ValueError(f"it pools (C, H, W), and not what comes in, {shape}")
    kernel, stride, around = (_pair(each, 2, 1) for each in (node.kernel_size, node.stride, node.padding))
    size = kernel[0] * kernel[1] if type(node) is nir.AvgPool2d else 1
    padding = [(each, each) for each in around]
    return lambda x: Given(_windows(x, kernel, stride, padding, (1, 1)).sum(axis=(4, 5)) / size)


def _windows(x: Array, kernel: Shape, stride: Shape, padding: list[tuple[int, int]], dilation: Shape) -> Array:
    """Return the windows over the last two axes of (N, C, H, W): (N, C, H', W', *kernel)."""
    padded = np.pad(x, [(0, 0), (0, 0), *padding])
    extent = tuple(each * (size - 1) + 1 for each, size in zip(dilation, kernel, strict=True))
    every = sliding_window_view(padded, extent, axis=(2, 3))
    return every[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


# -- parameters


def _array(node: Any, name: str, shape: Shape) -> Array:
    """Return a parameter in float64, broadcast to ``shape``."""
    given = getattr(node, name)
    value = np.asarray(0.0 if given is None and name == "v_reset" else given, dtype=np.float64)
    try:
        return np.broadcast_to(value, shape)
    except ValueError:
        raise ValueError(f"{name} of shape {value.shape} does not broadcast to {shape}") from None


def _time_constant(node: Any, name: str, shape: Shape) -> Array:
    """Return a time constant, in the unit of dt."""
    tau = _array(node, name, shape)
    if not np.all((tau > 0) & np.isfinite(tau)):
        raise ValueError(f"{name} must be positive and finite, got {getattr(node, name)}")
    return tau


def _pair(value: Any, axes: int, missing: int) -> Shape:
    """Return one number for each of two axes; ``missing`` for the first if there is only one axis."""
    numbers = [int(each) for each in np.broadcast_to(np.asarray(value), (axes,))]
    return tuple([missing] * (2 - axes) + numbers)


_EQUATIONS: dict[type, Callable[[Any, Shape, Grid], Equation]] = {
    **dict.fromkeys((nir.I, nir.IF), _integrator),
    **dict.fromkeys((nir.LI, nir.LIF), _leaky),
    **dict.fromkeys((nir.CubaLI, nir.CubaLIF), _current_based),
}
_BUILD: dict[type, Build] = {
    **dict.fromkeys(_EQUATIONS, _neuron),
    **dict.fromkeys((nir.Input, nir.Output), _identity),
    **dict.fromkeys((nir.Affine, nir.Linear), _affine),
    **dict.fromkeys((nir.Conv1d, nir.Conv2d), _convolution),
    **dict.fromkeys((nir.SumPool2d, nir.AvgPool2d), _pool),
    nir.Threshold: _threshold,
    nir.Scale: _scale,
    nir.Flatten: _flatten,
    nir.Delay: _delay,
}
