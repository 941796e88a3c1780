"""The leaky neuron with escape noise."""

from collections.abc import Callable
from typing import Any

import numpy as np

from spikingtorch.verification.oracles.reset import Array, Reset, Result, to_zero


def logistic(y: Array, beta: Any = 5.0) -> Array:
    """Return (1 + tanh(beta y / 2)) / 2, which is 1 / (1 + exp(-beta y))."""
    p: Array = (1 + np.tanh(beta * y / 2)) / 2
    return p


def stochastic_leaky(
    x: tuple[Array, Array],
    decay: Any,
    gain: Any = 1.0,
    threshold: Any = 1.0,
    reset: Reset = to_zero,
    probability: Callable[[Array], Array] = logistic,
) -> Result:
    """W = decay reset(w, s) + gain current, with a spike where the noise is below probability(w - threshold)."""
    w, s, out = np.zeros_like(x[0][0]), np.zeros_like(x[0][0]), []
    for current, noise in zip(*x, strict=True):
        w = decay * reset(w, s, threshold) + gain * current
        s = np.where(noise < probability(w - threshold), 1.0, 0.0)
        out.append(s)
    return np.array(out), {"v": reset(w, s, threshold)}
