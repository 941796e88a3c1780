"""Neurons with a linear membrane, leaky or not, and neurons without one: McCulloch-Pitts and sigma-delta."""

from collections.abc import Callable
from typing import Any

import numpy as np

from spikingtorch.verification.oracles.reset import Array, Reset, Result, by_subtraction, to_zero
from spikingtorch.verification.oracles.spikes import Levels, after, output, over_time, spikes, trace


def integrate_and_fire(x: Array, threshold: Any = 1.0, reset: Reset = to_zero) -> Result:
    """W = reset(w, s) + x."""
    return over_time(x, lambda v, x_t: v + x_t, threshold, reset)


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
    return over_time(x, lambda v, x_t: (1 - leak) * v + leak * (x_t + v_rest), threshold, reset)


def spiking_decay(x: Array, tau: Any, threshold: Any = 1.0, reset: Reset = to_zero) -> Result:
    """W = reset(w, s) / tau + x."""
    return over_time(x, lambda v, x_t: v / tau + x_t, threshold, reset)


def leaky_integrator(x: Array, decay: Any, gain: Any = 1.0) -> Result:
    """V = sum over k of decay^(t - k) gain x[k], the closed form of the recurrence."""
    v = np.array([sum(decay ** (t - k) * gain * x[k] for k in range(t + 1)) for t in range(len(x))])
    return v, {"v": v[-1]}


def adaptive_leaky(
    x: Array,
    decay: Any,
    decay_adaptation: Any,
    adaptation: Any,
    gain: Any = 1.0,
    threshold: Any = 1.0,
    reset: Reset = by_subtraction,
) -> Result:
    """W = decay reset(w, s) + gain x, with a threshold raised by a running mean of all spikes before."""
    w, s, theta, out = np.zeros_like(x[0]), np.zeros_like(x[0]), threshold, [np.zeros_like(x[0])]
    for x_t in x:
        w = decay * reset(w, s, theta) + gain * x_t
        theta = threshold + adaptation * _mean(np.array(out), decay_adaptation)
        s = spikes(w, theta)
        out.append(s)
    return np.array(out[1:]), {"v": reset(w, s, theta), "a": _mean(np.array(out), decay_adaptation)}


def _mean(s: Array, decay: Any) -> Array:
    last: Array = (1 - decay) * trace(s, decay)[-1]
    return last


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


def biolif(x: tuple[Array, Array], nudt: Any, threshold: Any = 0.5, reset: Reset = to_zero) -> Result:
    """W relaxes from reset(w, s) to xe / nu at the rate nudt nu, nu = 1 + xe + xi."""
    w, s, out = np.zeros_like(x[0][0]), np.zeros_like(x[0][0]), []
    for xe, xi in zip(*x, strict=True):
        nu = 1 + xe + xi
        target = xe / nu
        w = target + (reset(w, s, threshold) - target) * np.exp(-nudt * nu)
        s = spikes(w, threshold)
        out.append(s)
    return np.array(out), {"v": reset(w, s, threshold)}


def mcpitts(x: Array, threshold: Any) -> Result:
    """S = H(x - threshold)."""
    return np.where(x >= threshold, 1.0, 0.0), {}


def sigma_delta(x: Array, threshold: Any = 0.1) -> Result:
    """Send the rectified sum of the inputs once it differs from the last sent value by a threshold or more."""
    sums = np.cumsum(x, axis=0)
    known = [np.zeros_like(x[0])]
    for target in np.maximum(sums, 0.0):
        known.append(np.where(np.abs(target - known[-1]) >= threshold, target, known[-1]))
    return np.diff(np.array(known), axis=0), {"v": sums[-1], "sent": known[-1]}
