"""Neurons whose membrane follows a parabola: quadratic integrate-and-fire, and that of Izhikevich, in mV and ms."""

from typing import NamedTuple

import jax

from spikingtorch.functional.jax_reference.firing import SpikeFunction, fire
from spikingtorch.functional.jax_reference.reset import Reset, to_value, to_zero
from spikingtorch.functional.jax_reference.spike import Parameter
from spikingtorch.functional.jax_reference.surrogate import Sigmoid


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

    Arguments and returns: those of ``spikingtorch.functional.quadratic_if_step``.
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
    """The parabola square v^2 + slope v + offset; each broadcasts to (*N,)."""

    square: Parameter
    slope: Parameter
    offset: Parameter


_CURVE = IzhikevichCurve(square=0.04, slope=5.0, offset=140.0)
_RESET = to_value(-65.0)


def izhikevich_step(
    state: IzhikevichState,
    x: jax.Array,
    *,
    a: Parameter,
    b: Parameter,
    d: Parameter,
    curve: IzhikevichCurve = _CURVE,
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

    Arguments and returns: those of ``spikingtorch.functional.izhikevich_step``.
    """
    v, w = state
    square, slope, offset = curve
    u = v + dt * (square * v**2 + slope * v + offset - w + x)
    w = w + dt * a * (b * (u - v_recovery) - w)
    fired = fire(u, threshold, surrogate, reset)
    return IzhikevichState(v=fired.v, w=w + d * fired.number), fired.out
