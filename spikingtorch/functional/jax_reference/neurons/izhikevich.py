"""The neuron of Izhikevich, in millivolts and milliseconds."""

from typing import NamedTuple

import jax

from spikingtorch.functional.jax_reference.firing import SpikeFunction, fire
from spikingtorch.functional.jax_reference.reset import Reset, to_value
from spikingtorch.functional.jax_reference.spike import Parameter
from spikingtorch.functional.jax_reference.surrogate import Sigmoid


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
