"""Neurons with a linear membrane, neurons without one (McCulloch-Pitts and sigma-delta), and synapses.

Those with a membrane leak or not, rest or spike less after a spike, or resonate: then it is the real part of a complex
number.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from spikingtorch.verification.oracles.spikes import (
    Array,
    Levels,
    Reset,
    Result,
    after,
    by_subtraction,
    none,
    output,
    over_time,
    spikes,
    to_zero,
    trace,
)


def integrate_and_fire(x: Array, threshold: Any = 1.0, reset: Reset = to_zero) -> Result:
    """W = reset(w, s) + x."""
    return over_time(x, lambda v, x_t: v + x_t, threshold, reset)


def leaky(
    x: Array, decay: Any, gain: Any = 1.0, threshold: Any = 1.0, reset: Reset = to_zero, levels: Levels = "plain"
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


def adapting_leaky(
    x: Array, decay: Any, decay_w: Any, a: Any, b: Any, q: Any = 120.0, threshold: Any = 1.0, reset: Reset = to_zero
) -> Result:
    """U = decay reset(u, s) + (1 - decay) (x - w), where w is a running mean of q (a v + b s) over all steps before."""
    u, s, drive = np.zeros_like(x[0]), np.zeros_like(x[0]), [np.zeros_like(x[0])]
    out = []
    for x_t in x:
        u = decay * reset(u, s, threshold) + (1 - decay) * (x_t - _mean(np.array(drive), decay_w))
        s = spikes(u, threshold)
        out.append(s)
        drive.append(q * (a * reset(u, s, threshold) + b * s))
    return np.array(out), {"v": reset(u, s, threshold), "w": _mean(np.array(drive), decay_w)}


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
    x: Array, jump: Any, decay_threshold: Any, decay: Any, gain: Any = 1.0, threshold: Any = 1.0, reset: Reset = to_zero
) -> Result:
    """W = decay reset(w, s) + gain x, with a threshold that is raised by jump decay_threshold^k at k + 1 steps."""
    w, s, theta, out = np.zeros_like(x[0]), np.zeros_like(x[0]), threshold, [np.zeros_like(x[0])]
    for x_t in x:
        w = decay * reset(w, s, theta) + gain * x_t
        theta = threshold + jump * trace(np.array(out), decay_threshold)[-1]
        s = spikes(w, theta)
        out.append(s)
    return np.array(out[1:]), {"v": reset(w, s, theta), "r": jump * trace(np.array(out), decay_threshold)[-1]}


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


def harmonic_resonate_and_fire(
    x: Array, omega: Any, offset: Any, decay_refractory: Any = 0.9, dt: Any = 0.01, threshold: Any = 1.0
) -> Result:
    """W[t+1] - 2 w[t] + w[t-1] = dt^2 (x - friction w' - omega^2 w): positions alone; the velocity is their change."""
    before, now, step = (np.zeros_like(x[0]) for _ in range(3))
    out = [np.zeros_like(x[0])]
    for x_t in x:
        q = trace(np.array(out), decay_refractory)[-1]
        friction = dt * omega**2 + 2 * (offset + q)
        step = (now - before) * (1 - dt * friction) + dt**2 * (x_t - omega**2 * now)
        before, now = now, now + step
        out.append(spikes(step / dt, threshold + q))
    return np.array(out[1:]), {"v": step / dt, "w": before, "q": trace(np.array(out), decay_refractory)[-1]}


def exponential_synapse(x: Array, decay: Any) -> Result:
    """I = sum over k of decay^(t - k) x[k]."""
    i = trace(x, decay)
    return i, {"i": i[-1]}


def alpha_synapse(x: Array, decay_rise: Any, gain_rise: Any, decay: Any) -> Result:
    """I = sum over k of kernel[t - k] x[k]; the kernel is the convolution of two exponentials."""
    kernel = [gain_rise * sum(decay ** (n - j) * decay_rise**j for j in range(n + 1)) for n in range(len(x))]
    i = np.array([sum(kernel[t - k] * x[k] for k in range(t + 1)) for t in range(len(x))])
    return i, {"i": i[-1], "r": gain_rise * trace(x, decay_rise)[-1]}


def cuba_lif(
    x: Array, decay_syn: Any, decay: Any, gain: Any = 1.0, threshold: Any = 1.0, reset: Reset = to_zero
) -> Result:
    """Drive a leaky neuron by the current of an exponential synapse."""
    i, synapse = exponential_synapse(x, decay_syn)
    out, neuron = leaky(i, decay, gain, threshold, reset)
    return out, neuron | synapse


def alpha_lif(
    x: Array,
    decay_rise: Any,
    gain_rise: Any,
    decay_syn: Any,
    decay: Any,
    gain: Any = 1.0,
    threshold: Any = 1.0,
    reset: Reset = to_zero,
) -> Result:
    """Drive a leaky neuron by the current of an alpha synapse."""
    i, synapse = alpha_synapse(x, decay_rise, gain_rise, decay_syn)
    out, neuron = leaky(i, decay, gain, threshold, reset)
    return out, neuron | synapse


def short_term_plasticity(x: Array, release: Any, decay_facilitation: Any, decay_recovery: Any) -> Result:
    """R relaxes to 1 and loses u R x at a spike; 1 - u shrinks by the factor 1 - release x."""
    u, R, out = np.zeros_like(x[0]), np.ones_like(x[0]), []
    for x_t in x:
        u = 1 - (1 - u * decay_facilitation) * (1 - release * x_t)
        R = 1 - (1 - R) * decay_recovery
        released = u * R * x_t
        R = R - released
        out.append(released)
    return np.array(out), {"f": u, "q": 1 - R}


def delay(x: Array, delay: Any, longest: int) -> Result:
    """X at t - delay, interpolated between the two steps around it; inputs older than the longest delay are dropped."""
    before = np.broadcast_to(delay, x[0].shape)
    low = np.floor(before).astype(int)
    out = np.zeros_like(x)
    for t, n in np.ndindex(len(x), before.size):
        k, part = low.flat[n], before.flat[n] - low.flat[n]
        for step, weight in ((k, 1 - part), (k + 1, part)):
            if 0 <= step <= min(longest, t):
                out[t].flat[n] += weight * x[t - step].flat[n]
    padded = np.concatenate([np.zeros((longest, *x[0].shape)), x])
    return out, {"past": padded[::-1][:longest]}
