"""One step of time of each node of NIR, in numpy and float64, from the definitions in ``nir.ir``.

This is the second half of :mod:`spikingtorch.interop.nir.reference`: that file handles the graph, this one the nodes.
Both are written only from the docstrings of the package ``nir``. They share no code with the models that they certify.

A node becomes a cell: a function of the input of a step, (N, *shape), that keeps the node's state. All state is zero at
first. Parameters broadcast to ``shape`` as in numpy. dt and the time constants have the same unit, which is arbitrary.
"""

from collections.abc import Callable
from typing import Any

import nir
import numpy as np

from spikingtorch.interop.nir.reference_maps import MAPS
from spikingtorch.interop.nir.reference_types import Array, Build, Cell, Equation, Given, Grid, Shape, array_of

__all__ = ["Array", "Cell", "Given", "Grid", "build", "is_known", "is_neuron"]


def build(node: Any, shape: Shape, grid: Grid) -> Cell:
    """Return the cell of a node with inputs of ``shape``, without the batch; raise ValueError for a wrong parameter."""
    return _BUILD[type(node)](node, shape, grid)


def is_known(node: Any) -> bool:
    """Return True if this file has the equations of this class of nodes."""
    return type(node) in _BUILD


def is_neuron(node: Any) -> bool:
    """Return True if a node is a neuron: it has a membrane, or is a Threshold. A Delay is none."""
    return type(node) in _EQUATIONS or type(node) is nir.Threshold


# -- neurons


class _Neuron:
    """A node with a membrane: each part of a step applies its equation, the threshold and the reset.

    z = 1 where v > v_threshold, strictly, else 0; v := v_reset where z = 1. Source: nir.IF, nir.LIF, nir.CubaLIF.
    Its output is the number of spikes in the step or, without a threshold, v at the end of the step. The recorded
    membrane is that of the last part of the step, before the reset.
    """

    def __init__(self, advance: Equation, refine: int, threshold: Array | None = None, reset: Array | None = None):
        self.advance, self.refine = advance, refine
        self.threshold, self.reset = threshold, reset
        self.current: Array = np.zeros(())
        self.membrane: Array = np.zeros(())

    def __call__(self, arriving: Array) -> Given:
        """Advance one step of ``grid.dt``, with a constant input."""
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
    return _Neuron(advance, grid.refine, array_of(node, "v_threshold", shape), array_of(node, "v_reset", shape))


def _integrator(node: Any, shape: Shape, grid: Grid) -> Equation:
    """Solve v' = r S over a part of length h: v := v + h r S. Source: nir.I, nir.IF."""
    r = array_of(node, "r", shape)

    def advance(current: Array, v: Array, arriving: Array) -> tuple[Array, Array]:
        return current, v + grid.part * r * arriving

    return advance


def _leaky(node: Any, shape: Shape, grid: Grid) -> Equation:
    """Solve tau v' = (v_leak - v) + r S: v approaches v_leak + r S. Source: nir.LI, nir.LIF."""
    r, v_leak = array_of(node, "r", shape), array_of(node, "v_leak", shape)
    share = _share(grid.part / _time_constant(node, "tau", shape), grid)

    def advance(current: Array, v: Array, arriving: Array) -> tuple[Array, Array]:
        return current, v + share * (v_leak + r * arriving - v)

    return advance


def _current_based(node: Any, shape: Shape, grid: Grid) -> Equation:
    """Solve tau_syn I' = -I + w_in S, tau_mem v' = (v_leak - v) + r I. Source: nir.CubaLI, nir.CubaLIF.

    "exponential" and "euler" solve the first equation, then the second with the new I held constant: semi-implicit, as
    simulators do. With "exact", I varies inside the part: at time s it is w_in S + (I - w_in S) exp(-s / tau_syn). The
    first term is constant, the second decays; ``_faded`` is the share of the second that reaches v.
    """
    r, v_leak, w_in = (array_of(node, name, shape) for name in ("r", "v_leak", "w_in"))
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
    """Return the share of the distance to a constant target that x covers in h: tau x' = target - x, ratio = h / tau.

    1 - exp(-h / tau), the exact solution; forward Euler: h / tau.
    """
    return ratio if grid.discretisation == "euler" else -np.expm1(-ratio)


def _faded(syn: Array, mem: Array) -> Array:
    """Return how much a current that starts at 1 and decays adds to v in h; syn = h / tau_syn, mem = h / tau_mem.

        (1 / tau_mem) integral from 0 to h of exp(-(h - s) / tau_mem) exp(-s / tau_syn) ds
            = mem exp(-min(syn, mem)) (1 - exp(-d)) / d,    d = |syn - mem|

    The quotient is 1 where d = 0. The slower exponential is factored out, so that nothing overflows. expm1 keeps the
    quotient accurate if the time constants are nearly equal.
    """
    distance = np.abs(syn - mem)
    apart = distance > 0
    quotient = np.where(apart, -np.expm1(-distance) / np.where(apart, distance, 1.0), 1.0)
    return np.asarray(mem * np.exp(-np.minimum(syn, mem)) * quotient)


def _threshold(node: Any, shape: Shape, _grid: Grid) -> Cell:
    """Give z = 1 where the input is above the threshold, strictly, else 0; there is no state. Source: nir.Threshold."""
    threshold = array_of(node, "threshold", shape)
    return lambda arriving: Given((arriving > threshold).astype(np.float64), arriving)


def _time_constant(node: Any, name: str, shape: Shape) -> Array:
    """Return a time constant, in the unit of dt."""
    tau = array_of(node, name, shape)
    if not np.all((tau > 0) & np.isfinite(tau)):
        raise ValueError(f"{name} must be positive and finite, got {getattr(node, name)}")
    return tau


_EQUATIONS: dict[type, Callable[[Any, Shape, Grid], Equation]] = {
    **dict.fromkeys((nir.I, nir.IF), _integrator),
    **dict.fromkeys((nir.LI, nir.LIF), _leaky),
    **dict.fromkeys((nir.CubaLI, nir.CubaLIF), _current_based),
}
_BUILD: dict[type, Build] = {
    **MAPS,
    **dict.fromkeys(_EQUATIONS, _neuron),
    nir.Threshold: _threshold,
}
