"""Neurons with an exponential upswing of the membrane: exponential integrate-and-fire, and AdEx, which adapts."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from spikingtorch.functional.jax_reference.firing import SpikeFunction, fire
from spikingtorch.functional.jax_reference.reset import Reset, to_zero
from spikingtorch.functional.jax_reference.spike import Parameter
from spikingtorch.functional.jax_reference.surrogate import Sigmoid


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

    Arguments and returns: those of ``spikingtorch.functional.exponential_if_step``.
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

    Arguments and returns: those of ``spikingtorch.functional.adex_step``.
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
