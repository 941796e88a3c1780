"""Numpy loops over time, one a neuron, written from the published equations and not from the library.

Each takes inputs (T, N) and returns the outputs (T, N) and the state after them by field. They keep the membrane before
the reset (w) and the last spike (s), the form in which the older package and the papers write them, so that they share
no line of thought with the library, which keeps the membrane after the reset.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Reset = Callable[[Array, Array, Any], Array]
Result = tuple[Array, dict[str, Array]]


def to_zero(w: Array, s: Array, threshold: Any) -> Array:
    """Discharge the membrane at a spike."""
    return np.where(s > 0, 0.0, w)


def by_subtraction(w: Array, s: Array, threshold: Any) -> Array:
    """Take one threshold off at a spike."""
    return np.where(s > 0, w - threshold, w)


def none(w: Array, s: Array, threshold: Any) -> Array:
    """Leave the membrane alone."""
    return w


def integrate_and_fire(x: Array, threshold: Any = 1.0, reset: Reset = to_zero) -> Result:
    """W = reset(w, s) + x."""
    w, s, spikes = np.zeros_like(x[0]), np.zeros_like(x[0]), []
    for x_t in x:
        w = reset(w, s, threshold) + x_t
        s = np.where(w >= threshold, 1.0, 0.0)
        spikes.append(s)
    return np.array(spikes), {"v": reset(w, s, threshold)}


def leaky(x: Array, decay: Any, gain: Any = 1.0, threshold: Any = 1.0, reset: Reset = to_zero) -> Result:
    """W = decay reset(w, s) + gain x."""
    w, s, spikes = np.zeros_like(x[0]), np.zeros_like(x[0]), []
    for x_t in x:
        w = decay * reset(w, s, threshold) + gain * x_t
        s = np.where(w >= threshold, 1.0, 0.0)
        spikes.append(s)
    return np.array(spikes), {"v": reset(w, s, threshold)}


def spiking_decay(x: Array, tau: Any, threshold: Any = 1.0, reset: Reset = to_zero) -> Result:
    """W = reset(w, s) / tau + x."""
    w, s, spikes = np.zeros_like(x[0]), np.zeros_like(x[0]), []
    for x_t in x:
        w = reset(w, s, threshold) / tau + x_t
        s = np.where(w >= threshold, 1.0, 0.0)
        spikes.append(s)
    return np.array(spikes), {"v": reset(w, s, threshold)}


def coarse_lif(x: Array, decay: Any, gain: Any, refractory_gain: Any, threshold: Any = 1.0) -> Result:
    """W = decay w + gain x, or refractory_gain x after a spike."""
    w, s, spikes = np.zeros_like(x[0]), np.zeros_like(x[0]), []
    for x_t in x:
        w = np.where(s > 0, refractory_gain * x_t, decay * w + gain * x_t)
        s = np.where(w >= threshold, 1.0, 0.0)
        spikes.append(s)
    return np.array(spikes), {"v": np.where(s > 0, 0.0, w), "s": s}


def biolif(x: tuple[Array, Array], nudt: Any, threshold: Any = 0.5, reset: Reset = to_zero) -> Result:
    """W relaxes from reset(w, s) to xe / nu at the rate nudt nu, nu = 1 + xe + xi."""
    w, s, spikes = np.zeros_like(x[0][0]), np.zeros_like(x[0][0]), []
    for xe, xi in zip(*x, strict=True):
        nu = 1 + xe + xi
        target = xe / nu
        w = target + (reset(w, s, threshold) - target) * np.exp(-nudt * nu)
        s = np.where(w >= threshold, 1.0, 0.0)
        spikes.append(s)
    return np.array(spikes), {"v": reset(w, s, threshold)}


def mcpitts(x: Array, threshold: Any) -> Result:
    """S = H(x - threshold)."""
    return np.where(x >= threshold, 1.0, 0.0), {}


def leaky_integrator(x: Array, decay: Any, gain: Any = 1.0) -> Result:
    """V = sum over k of decay^(t - k) gain x[k], the closed form of the recurrence."""
    trace = np.array([sum(decay ** (t - k) * gain * x[k] for k in range(t + 1)) for t in range(len(x))])
    return trace, {"v": trace[-1]}
