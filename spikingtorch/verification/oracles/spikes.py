"""Spikes of a membrane, one above the threshold or the values of other spike functions, and the reset rules."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Reset = Callable[[Array, Array, Any], Array]
Result = tuple[Array, dict[str, Array]]
Levels = Literal["plain", "strict", "graded", "ternary", "multi"]


def spikes(w: Array, threshold: Any, levels: Levels = "plain") -> Array:
    """Return the number of spikes, negative for negative ones."""
    if levels == "strict":
        return np.where(w > threshold, 1.0, 0.0)
    if levels == "ternary":
        return np.where(np.abs(w) >= threshold, np.sign(w), 0.0)
    if levels == "multi":
        fits: Array = np.maximum(w // threshold, 0.0)
        return fits
    return np.where(w >= threshold, 1.0, 0.0)


def output(w: Array, n: Array, levels: Levels = "plain") -> Array:
    """Return the membrane at a spike if spikes are graded, else the number of spikes."""
    return np.where(n > 0, w, 0.0) if levels == "graded" else n


def after(w: Array, n: Array, threshold: Any, reset: Reset) -> Array:
    """Return the membrane after n spikes, each with a reset; negative spikes reset with the opposite sign."""
    sign = np.where(n < 0, -1.0, 1.0)
    level = sign * w
    for k in range(int(np.max(np.abs(n)))):
        level = reset(level, np.where(np.abs(n) > k, 1.0, 0.0), threshold)
    return sign * level


def over_time(x: Array, advance: Callable[[Array, Array], Array], threshold: Any, reset: Reset) -> Result:
    """Return spikes and membrane of a neuron with w = advance(reset(w, s), x)."""
    w, s, out = np.zeros_like(x[0]), np.zeros_like(x[0]), []
    for x_t in x:
        w = advance(reset(w, s, threshold), x_t)
        s = spikes(w, threshold)
        out.append(s)
    return np.array(out), {"v": reset(w, s, threshold)}


def trace(x: Array, decay: Any) -> Array:
    """Return the sum over k of decay^(t - k) x[k] for each t, the closed form of y[t] = decay y[t-1] + x[t]."""
    return np.array([sum(decay ** (t - k) * x[k] for k in range(t + 1)) for t in range(len(x))])


def to_zero(w: Array, s: Array, threshold: Any) -> Array:
    """Discharge the membrane at a spike."""
    return np.where(s > 0, 0.0, w)


def by_subtraction(w: Array, s: Array, threshold: Any) -> Array:
    """Subtract one threshold at a spike."""
    return np.where(s > 0, w - threshold, w)


def none(w: Array, s: Array, threshold: Any) -> Array:
    """Leave the membrane alone."""
    return w


def to_value(v_reset: Any) -> Reset:
    """Return the rule that sets the membrane to v_reset at a spike."""

    def rule(w: Array, s: Array, threshold: Any) -> Array:
        return np.where(s > 0, v_reset, w)

    return rule
