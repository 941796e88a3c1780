"""Integrate-and-fire, leaky neurons, the spiking decay and the leaky integrator."""

from typing import Any

import numpy as np

from spikingtorch.verification.oracles.reset import Array, Reset, Result, to_zero
from spikingtorch.verification.oracles.spikes import Levels, after, output, spikes


def integrate_and_fire(x: Array, threshold: Any = 1.0, reset: Reset = to_zero) -> Result:
    """W = reset(w, s) + x."""
    w, s, out = np.zeros_like(x[0]), np.zeros_like(x[0]), []
    for x_t in x:
        w = reset(w, s, threshold) + x_t
        s = spikes(w, threshold)
        out.append(s)
    return np.array(out), {"v": reset(w, s, threshold)}


def leaky(
    x: Array,
    decay: Any,
    gain: Any = 1.0,
    threshold: Any = 1.0,
    reset: Reset = to_zero,
    levels: Levels = "plain",
) -> Result:
    """W = decay reset(w, s) + gain x, with spikes of any kind."""
    w, n, out = np.zeros_like(x[0]), np.zeros_like(x[0]), []
    for x_t in x:
        w = decay * after(w, n, threshold, reset) + gain * x_t
        n = spikes(w, threshold, levels)
        out.append(output(w, n, levels))
    return np.array(out), {"v": after(w, n, threshold, reset)}


def euler(x: Array, leak: Any, v_rest: Any = 0.0, threshold: Any = 1.0, reset: Reset = to_zero) -> Result:
    """W = (1 - leak) reset(w, s) + leak (x + v_rest), a mean of the membrane and its target."""
    w, s, out = np.zeros_like(x[0]), np.zeros_like(x[0]), []
    for x_t in x:
        w = (1 - leak) * reset(w, s, threshold) + leak * (x_t + v_rest)
        s = spikes(w, threshold)
        out.append(s)
    return np.array(out), {"v": reset(w, s, threshold)}


def spiking_decay(x: Array, tau: Any, threshold: Any = 1.0, reset: Reset = to_zero) -> Result:
    """W = reset(w, s) / tau + x."""
    w, s, out = np.zeros_like(x[0]), np.zeros_like(x[0]), []
    for x_t in x:
        w = reset(w, s, threshold) / tau + x_t
        s = spikes(w, threshold)
        out.append(s)
    return np.array(out), {"v": reset(w, s, threshold)}


def leaky_integrator(x: Array, decay: Any, gain: Any = 1.0) -> Result:
    """V = sum over k of decay^(t - k) gain x[k], the closed form of the recurrence."""
    trace = np.array([sum(decay ** (t - k) * gain * x[k] for k in range(t + 1)) for t in range(len(x))])
    return trace, {"v": trace[-1]}
