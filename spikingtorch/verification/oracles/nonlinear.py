"""Neurons whose membrane follows a curve: exponential, quadratic, AdEx and Izhikevich."""

from typing import Any

import numpy as np

from spikingtorch.verification.oracles.spikes import Array, Reset, Result, over_time, spikes, to_value, to_zero

_TO_MINUS_65 = to_value(-65.0)


def exponential_if(
    x: Array,
    leak: Any,
    v_rest: Any = 0.0,
    v_rheobase: Any = 0.8,
    sharpness: Any = 1.0,
    threshold: Any = 1.0,
    reset: Reset = to_zero,
) -> Result:
    """W = (1 - leak) v + leak (v_rest + x + upswing(v)) for v = reset(w, s)."""
    return over_time(
        x, lambda v, x_t: (1 - leak) * v + leak * (v_rest + x_t + _upswing(v, v_rheobase, sharpness)), threshold, reset
    )


def quadratic_if(
    x: Array,
    leak: Any,
    v_rest: Any = 0.0,
    v_critical: Any = 0.8,
    curvature: Any = 1.0,
    threshold: Any = 1.0,
    reset: Reset = to_zero,
) -> Result:
    """W = v + leak (p(v) + x) for v = reset(w, s), p the parabola with zeros v_rest and v_critical, multiplied out."""

    def advance(v: Array, x_t: Array) -> Array:
        parabola = curvature * v**2 - curvature * (v_rest + v_critical) * v + curvature * v_rest * v_critical
        w: Array = v + leak * parabola + leak * x_t
        return w

    return over_time(x, advance, threshold, reset)


def adex(
    x: Array,
    leak: Any,
    leak_w: Any,
    a: Any,
    b: Any,
    v_rest: Any = 0.0,
    v_rheobase: Any = 0.8,
    sharpness: Any = 1.0,
    threshold: Any = 1.0,
    reset: Reset = to_zero,
) -> Result:
    """W as in exponential_if, minus a current z that relaxes to a (v - v_rest); a spike resets v and adds b to z."""
    w, z, s, out = np.zeros_like(x[0]), np.zeros_like(x[0]), np.zeros_like(x[0]), []
    for x_t in x:
        v, z = reset(w, s, threshold), np.where(s > 0, z + b, z)
        w = (1 - leak) * v + leak * (v_rest + x_t - z + _upswing(v, v_rheobase, sharpness))
        z = (1 - leak_w) * z + leak_w * a * (v - v_rest)
        s = spikes(w, threshold)
        out.append(s)
    return np.array(out), {"v": reset(w, s, threshold), "w": np.where(s > 0, z + b, z)}


def izhikevich(
    x: Array,
    a: Any,
    b: Any,
    d: Any,
    curve: Any = (0.04, 5.0, 140.0),
    v_recovery: Any = 0.0,
    dt: Any = 1.0,
    threshold: Any = 30.0,
    reset: Reset = _TO_MINUS_65,
) -> Result:
    """V' = curve(v) - z + x, z' = a (b (v - v_recovery) - z); a spike resets v and adds d to z."""
    w, z, s, out = np.zeros_like(x[0]), np.zeros_like(x[0]), np.zeros_like(x[0]), []
    square, slope, offset = curve
    for x_t in x:
        v, z = reset(w, s, threshold), np.where(s > 0, z + d, z)
        w = v + dt * (x_t - z + offset + v * (slope + square * v))
        z = (1 - dt * a) * z + dt * a * b * (w - v_recovery)
        s = spikes(w, threshold)
        out.append(s)
    return np.array(out), {"v": reset(w, s, threshold), "w": np.where(s > 0, z + d, z)}


def _upswing(v: Array, v_rheobase: Any, sharpness: Any) -> Array:
    """Return sharpness exp((v - v_rheobase) / sharpness), which is constant where the exponent exceeds 20."""
    upswing: Array = np.where(
        v < v_rheobase + 20 * sharpness,
        sharpness * np.exp(np.minimum(v / sharpness, 20 + v_rheobase / sharpness) - v_rheobase / sharpness),
        sharpness * np.exp(20.0),
    )
    return upswing
