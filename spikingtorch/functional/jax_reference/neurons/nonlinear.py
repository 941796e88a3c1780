"""Neurons whose membrane takes off by itself: exponential, AdEx, quadratic, and Izhikevich in mV and ms."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from spikingtorch.functional.jax_reference.closed_forms import Sigmoid
from spikingtorch.functional.jax_reference.firing import SpikeFunction, fire
from spikingtorch.functional.jax_reference.reset import Reset, to_value, to_zero
from spikingtorch.functional.jax_reference.spike import Parameter


class ExponentialIFState(NamedTuple):
    """Membrane v after the reset, shape (*N,)."""

    v: jax.Array


class AdExState(NamedTuple):
    """Membrane v after the reset and adaptation current w, each of shape (*N,)."""

    v: jax.Array
    w: jax.Array


def exponential_if_step(
    state: ExponentialIFState,
    x: jax.Array,
    *,
    leak: Parameter,
    v_rest: Parameter = 0.0,
    v_rheobase: Parameter = 0.5,
    sharpness: Parameter = 0.2,
    threshold: Parameter = 1.0,
    surrogate: SpikeFunction = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[ExponentialIFState, jax.Array]:
    """Advance an exponential integrate-and-fire neuron by one step of Euler's method.

        g    = exp(min((v[t-1] - v_rheobase) / sharpness, 20))
        u[t] = v[t-1] + leak (v_rest - v[t-1] + sharpness g + x[t])
        s[t] = H(u[t] - threshold)
        v[t] = reset(u[t], s[t], threshold)

    Fourcaud-Trocme et al., "How spike generation mechanisms determine the neuronal response to fluctuating inputs",
    J. Neurosci. 2003, doi:10.1523/JNEUROSCI.23-37-11628.2003.
    """
    v = state.v
    u = v + leak * (v_rest - v + sharpness * _upswing(v, v_rheobase, sharpness) + x)
    fired = fire(u, threshold, surrogate, reset)
    return ExponentialIFState(v=fired.v), fired.out


def adex_step(
    state: AdExState,
    x: jax.Array,
    *,
    leak: Parameter,
    leak_w: Parameter,
    a: Parameter,
    b: Parameter,
    v_rest: Parameter = 0.0,
    v_rheobase: Parameter = 0.5,
    sharpness: Parameter = 0.2,
    threshold: Parameter = 1.0,
    surrogate: SpikeFunction = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[AdExState, jax.Array]:
    """Advance an adaptive exponential integrate-and-fire neuron by one step of Euler's method.

        g    = exp(min((v[t-1] - v_rheobase) / sharpness, 20))
        u[t] = v[t-1] + leak (v_rest - v[t-1] + sharpness g - w[t-1] + x[t])
        s[t] = H(u[t] - threshold)
        v[t] = reset(u[t], s[t], threshold)
        w[t] = w[t-1] + leak_w (a (v[t-1] - v_rest) - w[t-1]) + b s[t]

    Brette and Gerstner, "Adaptive exponential integrate-and-fire model as an effective description of neuronal
    activity", J. Neurophysiol. 2005, doi:10.1152/jn.00686.2005. Spikes in w are counted, as in ``alif_step``.
    """
    v, w = state
    u = v + leak * (v_rest - v + sharpness * _upswing(v, v_rheobase, sharpness) - w + x)
    fired = fire(u, threshold, surrogate, reset)
    w = w + leak_w * (a * (v - v_rest) - w) + b * fired.number
    return AdExState(v=fired.v, w=w), fired.out


def _upswing(v: jax.Array, v_rheobase: Parameter, sharpness: Parameter) -> jax.Array:
    """Return g = exp(min((v - v_rheobase) / sharpness, 20))."""
    z = (v - v_rheobase) / sharpness
    return jnp.exp(jnp.where(z > 20, 20.0, z))


class QuadraticIFState(NamedTuple):
    """Membrane v after the reset, shape (*N,)."""

    v: jax.Array


def quadratic_if_step(
    state: QuadraticIFState,
    x: jax.Array,
    *,
    leak: Parameter,
    v_rest: Parameter = 0.0,
    v_critical: Parameter = 0.8,
    curvature: Parameter = 1.0,
    threshold: Parameter = 1.0,
    surrogate: SpikeFunction = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[QuadraticIFState, jax.Array]:
    """Advance a quadratic integrate-and-fire neuron by one step of Euler's method.

        u[t] = v[t-1] + leak (curvature (v[t-1] - v_rest) (v[t-1] - v_critical) + x[t])
        s[t] = H(u[t] - threshold)
        v[t] = reset(u[t], s[t], threshold)

    Latham et al., "Intrinsic dynamics in neuronal networks. I. Theory", J. Neurophysiol. 2000,
    doi:10.1152/jn.2000.83.2.808.
    """
    v = state.v
    u = v + leak * (curvature * (v - v_rest) * (v - v_critical) + x)
    fired = fire(u, threshold, surrogate, reset)
    return QuadraticIFState(v=fired.v), fired.out


class IzhikevichState(NamedTuple):
    """Membrane v after the reset, in mV, and recovery w, each of shape (*N,)."""

    v: jax.Array
    w: jax.Array


class IzhikevichCurve(NamedTuple):
    """The parabola square v^2 + slope v + offset, in mV / ms for v in mV; each broadcasts to (*N,)."""

    square: Parameter = 0.04
    slope: Parameter = 5.0
    offset: Parameter = 140.0


_RESET = to_value(-65.0)


def izhikevich_step(
    state: IzhikevichState,
    x: jax.Array,
    *,
    a: Parameter,
    b: Parameter,
    d: Parameter,
    curve: IzhikevichCurve = IzhikevichCurve(),
    v_recovery: Parameter = 0.0,
    dt: Parameter = 1.0,
    threshold: Parameter = 30.0,
    surrogate: SpikeFunction = Sigmoid(beta=0.5),
    reset: Reset = _RESET,
) -> tuple[IzhikevichState, jax.Array]:
    """Advance a neuron of Izhikevich by one step of Euler's method.

        u[t] = v[t-1] + dt (square v[t-1]^2 + slope v[t-1] + offset - w[t-1] + x[t])
        w'   = w[t-1] + dt a (b (u[t] - v_recovery) - w[t-1])
        s[t] = H(u[t] - threshold)
        v[t] = reset(u[t], s[t], threshold)
        w[t] = w' + d s[t]

    Izhikevich, "Simple model of spiking neurons", IEEE Trans. Neural Netw. 2003, doi:10.1109/TNN.2003.820440, and
    "Which model to use for cortical spiking neurons?", 2004, doi:10.1109/TNN.2004.832719. Spikes in w are counted, as
    in ``alif_step``.
    """
    v, w = state
    square, slope, offset = curve
    u = v + dt * (square * v**2 + slope * v + offset - w + x)
    w = w + dt * a * (b * (u - v_recovery) - w)
    fired = fire(u, threshold, surrogate, reset)
    return IzhikevichState(v=fired.v, w=w + d * fired.number), fired.out
