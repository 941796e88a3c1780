"""What each node of NIR computes in one step of time, in numpy and float64, from the definitions in ``nir.ir``.

The second half of :mod:`spikingtorch.interop.nir.reference`: that file knows the graph, this one the nodes. Both are
written from the docstrings of the package ``nir`` alone and share no code with the models that they certify.

A node becomes a cell: a function of what arrives in a step, (N, *shape), that keeps the node's state. All state is zero
at first. Parameters broadcast to ``shape`` as in numpy. dt and the time constants have one unit, whichever it is.
"""

from collections.abc import Callable
from typing import Any

import nir
import numpy as np

from spikingtorch.interop.nir.reference_maps import MAPS
from spikingtorch.interop.nir.reference_types import (
    Array,
    Build,
    Cell,
    Equation,
    Given,
    Grid,
    Shape,
    array_of,
)

__all__ = ["Array", "Cell", "Given", "Grid", "build", "is_known", "is_neuron"]


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
    return _Neuron(advance, grid.refine, array_of(node, "v_threshold", shape), array_of(node, "v_reset", shape))


def _integrator(node: Any, shape: Shape, grid: Grid) -> Equation:
    """Solve v' = r S over a part of length h: v := v + h r S. Source: nir.I, nir.IF."""
    r = array_of(node, "r", shape)

    def advance(current: Array, v: Array, arriving: Array) -> tuple[Array, Array]:
        return current, v + grid.part * r * arriving

    return advance


def _leaky(node: Any, shape: Shape, grid: Grid) -> Equation:
    """Solve tau v' = (v_leak - v) + r S: v goes towards v_leak + r S. Source: nir.LI, nir.LIF."""
    r, v_leak = array_of(node, "r", shape), array_of(node, "v_leak", shape)
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
