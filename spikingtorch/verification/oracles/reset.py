"""Reset rules, applied to the membrane w before the reset when the next step begins."""

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
