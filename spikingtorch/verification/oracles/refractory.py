"""Neurons that rest, or that spike less, after a spike."""

from typing import Any

import numpy as np

from spikingtorch.verification.oracles.reset import Array, Reset, Result, to_zero
from spikingtorch.verification.oracles.spikes import spikes, trace


def coarse_lif(
    x: Array, decay: Any, gain: Any, refractory_gain: Any, threshold: Any = 1.0, reset: Reset = to_zero
) -> Result:
    """W = decay w + gain x, and after a spike decay reset(w) + refractory_gain x."""
    w, s, out = np.zeros_like(x[0]), np.zeros_like(x[0]), []
    for x_t in x:
        w = np.where(s > 0, decay * reset(w, s, threshold) + refractory_gain * x_t, decay * w + gain * x_t)
        s = spikes(w, threshold)
        out.append(s)
    return np.array(out), {"v": reset(w, s, threshold), "s": s}


def refractory_leaky(
    x: Array, steps: Any, decay: Any, gain: Any = 1.0, threshold: Any = 1.0, reset: Reset = to_zero
) -> Result:
    """W = decay reset(w, s) + gain x once more than the given steps have passed since the last spike, else held."""
    w, s, out = np.zeros_like(x[0]), np.zeros_like(x[0]), []
    last = np.full(x[0].shape, -np.inf)
    for t, x_t in enumerate(x):
        awake = t - last > steps
        w = np.where(awake, decay * reset(w, s, threshold) + gain * x_t, w)
        fires = awake & (w >= threshold)
        # The spike before the rest is kept for the reset after it.
        s = np.where(awake, np.where(fires, 1.0, 0.0), s)
        last = np.where(fires, t, last)
        out.append(np.where(fires, 1.0, 0.0))
    left = np.maximum(0.0, steps - (len(x) - 1 - last))
    return np.array(out), {"v": reset(w, s, threshold), "left": left}


def relative_refractory_leaky(
    x: Array,
    jump: Any,
    decay_threshold: Any,
    decay: Any,
    gain: Any = 1.0,
    threshold: Any = 1.0,
    reset: Reset = to_zero,
) -> Result:
    """W = decay reset(w, s) + gain x, with a threshold that is raised by jump decay_threshold^k at k + 1 steps."""
    w, s, theta, out = np.zeros_like(x[0]), np.zeros_like(x[0]), threshold, [np.zeros_like(x[0])]
    for x_t in x:
        w = decay * reset(w, s, theta) + gain * x_t
        theta = threshold + jump * trace(np.array(out), decay_threshold)[-1]
        s = spikes(w, theta)
        out.append(s)
    return np.array(out[1:]), {"v": reset(w, s, theta), "r": jump * trace(np.array(out), decay_threshold)[-1]}
