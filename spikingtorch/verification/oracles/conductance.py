"""The BioLIF neuron."""

from typing import Any

import numpy as np

from spikingtorch.verification.oracles.reset import Array, Reset, Result, to_zero


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
