"""Resonate-and-fire neurons, their membrane the real part of a complex number."""

from typing import Any

import numpy as np

from spikingtorch.verification.oracles.reset import Array, Reset, Result, none
from spikingtorch.verification.oracles.spikes import spikes, trace


def resonate_and_fire(
    x: Array, omega: Any, damping: Any, dt: Any = 0.01, threshold: Any = 1.0, reset: Reset = none
) -> Result:
    """Z' = (damping + i omega) z + x, the real part of z being reset at a spike."""
    z: Any = np.zeros(x[0].shape, complex)
    s, out = np.zeros_like(x[0]), []
    for x_t in x:
        z = reset(z.real, s, threshold) + 1j * z.imag
        z = (1 + dt * (damping + 1j * omega)) * z + dt * x_t
        s = spikes(z.real, threshold)
        out.append(s)
    return np.array(out), {"v": reset(z.real, s, threshold), "w": z.imag}


def balanced_resonate_and_fire(
    x: Array, omega: Any, offset: Any, decay_refractory: Any = 0.9, dt: Any = 0.01, threshold: Any = 1.0
) -> Result:
    """Z' = (p - offset - q + i omega) z + x with |1 + dt (p + i omega)| = 1; q is a trace of the spikes."""
    # 1 + dt (p + i omega) is the point of the unit circle whose imaginary part is dt omega.
    p = (np.cos(np.arcsin(dt * omega)) - 1) / dt
    z: Any = np.zeros(x[0].shape, complex)
    out = [np.zeros_like(x[0])]
    for x_t in x:
        q = trace(np.array(out), decay_refractory)[-1]
        z = z + dt * ((p - offset - q + 1j * omega) * z + x_t)
        out.append(spikes(z.real, threshold + q))
    return np.array(out[1:]), {"v": z.real, "w": z.imag, "q": trace(np.array(out), decay_refractory)[-1]}
