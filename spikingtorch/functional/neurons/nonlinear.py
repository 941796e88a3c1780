"""Neurons whose membrane takes off by itself: exponential, AdEx, quadratic and Izhikevich."""

from typing import NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.firing import fire
from spikingtorch.functional.reset import Reset, to_value, to_zero
from spikingtorch.functional.spike import Surrogate
from spikingtorch.functional.surrogate import Sigmoid

# exp(20) = 5e8: a membrane this high has fired long ago
_LARGEST_EXPONENT = 20.0


def _upstroke(v: Tensor, v_rheobase: Tensor | float, sharpness: Tensor | float) -> Tensor:
    """Return the current that makes the spike; constant where its exponent exceeds 20."""
    return sharpness * torch.exp(((v - v_rheobase) / sharpness).clamp(max=_LARGEST_EXPONENT))


class ExponentialIFState(NamedTuple):
    """State of ``exponential_if_step``: v, the membrane after the reset."""

    v: Tensor


def exponential_if_step(
    state: ExponentialIFState,
    x: Tensor,
    *,
    leak: Tensor | float,
    v_rest: Tensor | float = 0.0,
    v_rheobase: Tensor | float = 0.5,
    sharpness: Tensor | float = 0.2,
    threshold: Tensor | float = 1.0,
    surrogate: Surrogate = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[ExponentialIFState, Tensor]:
    """Advance an exponential integrate-and-fire neuron by one step of Euler's method.

        g[t] = exp(min((v[t-1] - v_rheobase) / sharpness, 20))
        u[t] = v[t-1] + leak (v_rest - v[t-1] + sharpness g[t] + x[t])
        s[t] = H(u[t] - threshold)              H(0) = 1
        v[t] = reset(u[t], s[t], threshold)

    Args:
        state: v[t-1], shape (*N,).
        x: input current of this step, in units of the membrane, shape (*N,).
        leak: length of a step over the membrane time constant, in [0, 1], broadcastable to (*N,).
        v_rest: membrane without input and without the exponential current, broadcastable to (*N,).
        v_rheobase: membrane at which the spike takes off, broadcastable to (*N,).
        sharpness: width of the membrane's range in which the spike takes off, positive, broadcastable to (*N,).
        threshold: membrane at which the neuron fires, broadcastable to (*N,).
        surrogate: spike function.
        reset: what a spike does to the membrane.

    Returns:
        The state v[t] and the spikes s[t], each of shape (*N,).

    Source: N. Fourcaud-Trocmé, D. Hansel, C. van Vreeswijk, N. Brunel, J. Neurosci. 23 (2003),
    doi:10.1523/JNEUROSCI.23-37-11628.2003.
    """
    v = state.v
    u = v + leak * (v_rest - v + _upstroke(v, v_rheobase, sharpness) + x)
    v, out, _, _ = fire(u, threshold, surrogate, reset)
    return ExponentialIFState(v=v), out


class AdExState(NamedTuple):
    """State of ``adex_step``: v, the membrane after the reset, and w, the current that adapts."""

    v: Tensor
    w: Tensor


def adex_step(
    state: AdExState,
    x: Tensor,
    *,
    leak: Tensor | float,
    leak_w: Tensor | float,
    a: Tensor | float,
    b: Tensor | float,
    v_rest: Tensor | float = 0.0,
    v_rheobase: Tensor | float = 0.5,
    sharpness: Tensor | float = 0.2,
    threshold: Tensor | float = 1.0,
    surrogate: Surrogate = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[AdExState, Tensor]:
    """Advance an adaptive exponential integrate-and-fire neuron by one step of Euler's method.

        g[t] = exp(min((v[t-1] - v_rheobase) / sharpness, 20))
        u[t] = v[t-1] + leak (v_rest - v[t-1] + sharpness g[t] - w[t-1] + x[t])
        s[t] = H(u[t] - threshold)              H(0) = 1
        v[t] = reset(u[t], s[t], threshold)
        w[t] = w[t-1] + leak_w (a (v[t-1] - v_rest) - w[t-1]) + b s[t]

    Currents are in units of the membrane: the paper's currents, a and b are divided by its leak conductance. ``leak_w``
    is the leak of the adaptation, in [0, 1]. ``a``, without a unit, is the adaptation by the membrane, and ``b`` the
    adaptation by a spike. All are broadcastable to (*N,). The other arguments are those of ``exponential_if_step``.

    Returns:
        The state v[t], w[t] and the spikes s[t], each of shape (*N,).

    Source: R. Brette, W. Gerstner, J. Neurophysiol. 94 (2005), doi:10.1152/jn.00686.2005.
    """
    v, w = state.v, state.w
    u = v + leak * (v_rest - v + _upstroke(v, v_rheobase, sharpness) - w + x)
    w = w + leak_w * (a * (v - v_rest) - w)
    v, out, number, _ = fire(u, threshold, surrogate, reset)
    return AdExState(v=v, w=w + b * number), out


class QuadraticIFState(NamedTuple):
    """State of ``quadratic_if_step``: v, the membrane after the reset."""

    v: Tensor


def quadratic_if_step(
    state: QuadraticIFState,
    x: Tensor,
    *,
    leak: Tensor | float,
    v_rest: Tensor | float = 0.0,
    v_critical: Tensor | float = 0.8,
    curvature: Tensor | float = 1.0,
    threshold: Tensor | float = 1.0,
    surrogate: Surrogate = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[QuadraticIFState, Tensor]:
    """Advance a quadratic integrate-and-fire neuron by one step of Euler's method.

        u[t] = v[t-1] + leak (curvature (v[t-1] - v_rest) (v[t-1] - v_critical) + x[t])
        s[t] = H(u[t] - threshold)              H(0) = 1
        v[t] = reset(u[t], s[t], threshold)

    The membrane returns to ``v_rest`` after small deviations and runs away above ``v_critical``. The ``curvature`` of
    the parabola is in 1 / units of the membrane, positive. All are broadcastable to (*N,). The other arguments are
    those of ``exponential_if_step``.

    Returns:
        The state v[t] and the spikes s[t], each of shape (*N,).

    Source: W. Gerstner, W. M. Kistler, R. Naud, L. Paninski, "Neuronal Dynamics", section 5.3 (2014),
    doi:10.1017/CBO9781107447615.
    """
    v = state.v
    u = v + leak * (curvature * (v - v_rest) * (v - v_critical) + x)
    v, out, _, _ = fire(u, threshold, surrogate, reset)
    return QuadraticIFState(v=v), out


class IzhikevichState(NamedTuple):
    """State of ``izhikevich_step``: v, the membrane after the reset in mV, and w, the recovery (u of the papers)."""

    v: Tensor
    w: Tensor


class IzhikevichCurve(NamedTuple):
    """The parabola ``square v^2 + slope v + offset`` of the membrane, in mV / ms for v in mV."""

    square: Tensor | float = 0.04
    slope: Tensor | float = 5.0
    offset: Tensor | float = 140.0


def izhikevich_step(
    state: IzhikevichState,
    x: Tensor,
    *,
    a: Tensor | float,
    b: Tensor | float,
    d: Tensor | float,
    curve: IzhikevichCurve = IzhikevichCurve(),
    v_recovery: Tensor | float = 0.0,
    dt: Tensor | float = 1.0,
    threshold: Tensor | float = 30.0,
    surrogate: Surrogate = Sigmoid(beta=0.5),
    reset: Reset = to_value(-65.0),
) -> tuple[IzhikevichState, Tensor]:
    """Advance an Izhikevich neuron by one step of Euler's method, the recovery after the membrane.

        u[t] = v[t-1] + dt (square v[t-1]^2 + slope v[t-1] + offset - w[t-1] + x[t])
        s[t] = H(u[t] - threshold)              H(0) = 1
        v[t] = reset(u[t], s[t], threshold)
        w[t] = w[t-1] + dt a (b (u[t] - v_recovery) - w[t-1]) + d s[t]

    The parameter c of the papers is the value of the reset rule: ``to_value(c)``.

    Args:
        state: v[t-1] and w[t-1], each of shape (*N,).
        x: input current of this step, in mV / ms, shape (*N,).
        a: rate of the recovery, in 1 / ms, broadcastable to (*N,).
        b: recovery per unit of the membrane, in 1 / ms, broadcastable to (*N,).
        d: recovery that a spike adds, in mV / ms, broadcastable to (*N,).
        curve: parabola of the membrane; two of the published firing patterns use another parabola.
        v_recovery: membrane from which the recovery is measured, in mV.
        dt: length of a step, in ms.
        threshold: membrane at the peak of a spike, in mV, broadcastable to (*N,).
        surrogate: spike function, of u - threshold in mV.
        reset: what a spike does to the membrane.

    Returns:
        The state v[t], w[t] and the spikes s[t], each of shape (*N,).

    Source: E. M. Izhikevich, IEEE Trans. Neural Netw. 14 (2003), doi:10.1109/TNN.2003.820440, and 15 (2004),
    doi:10.1109/TNN.2004.832719.
    """
    v, w = state.v, state.w
    u = v + dt * (curve.square * v * v + curve.slope * v + curve.offset - w + x)
    w = w + dt * (a * (b * (u - v_recovery) - w))
    v, out, number, _ = fire(u, threshold, surrogate, reset)
    return IzhikevichState(v=v, w=w + d * number), out
