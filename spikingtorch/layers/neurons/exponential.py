"""Layers of neurons whose membrane rises exponentially at a spike."""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from spikingtorch import functional as F
from spikingtorch.layers.constructor import constructor_of
from spikingtorch.layers.limits import KINDS, POSITIVE, THRESHOLD
from spikingtorch.layers.options import Options, Value
from spikingtorch.layers.param_maps import leaks
from spikingtorch.layers.rest import RestingLayer


class ExponentialIF(RestingLayer):
    """Apply exponential integrate-and-fire neurons to an input, by Euler's method.

        u[t] = v[t-1] + (v_rest - v[t-1] + sharpness exp((v[t-1] - v_rheobase) / sharpness) + x[t]) / tau
        s[t] = H(u[t] - threshold),  v[t] = reset(u[t], s[t], threshold)

    Args:
        tau: membrane time constant in steps, positive; with ``dt`` in its unit.
        threshold: membrane at which the neuron fires.
        v_rest: resting membrane without the exponential term; a sequence starts there, without a gradient.
        v_rheobase: membrane at which the spike takes off.
        sharpness: width of the membrane's range in which the spike takes off, positive.
        surrogate, reset: spike function, and what a spike does to the membrane, as in IF.
        **options: learnable, recurrent, constrain, refractory, returns and dt, as in StepLayer.
    """

    starts: ClassVar[Mapping[str, str]] = {"v": "v_rest"}
    limits: Mapping[str, Any] = {"tau": POSITIVE, "threshold": THRESHOLD, "sharpness": POSITIVE, **KINDS}
    times: ClassVar[tuple[str, ...] | None] = ("tau",)
    param_map = staticmethod(leaks)

    @constructor_of(F.exponential_if_step, F.ExponentialIFState)
    def __init__(
        self,
        tau: Value = 8.0,
        threshold: Value = 1.0,
        v_rest: Value = 0.0,
        v_rheobase: Value = 0.5,
        sharpness: Value = 0.2,
        *,
        surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
        reset: F.Reset = F.to_zero,
        **options: Unpack[Options],
    ) -> None: ...


class AdEx(RestingLayer):
    """Apply adaptive exponential integrate-and-fire neurons to an input, by Euler's method.

        u[t] = v[t-1] + (v_rest - v[t-1] + sharpness exp((v[t-1] - v_rheobase) / sharpness) - w[t-1] + x[t]) / tau
        s[t] = H(u[t] - threshold),  v[t] = reset(u[t], s[t], threshold)
        w[t] = w[t-1] + (a (v[t-1] - v_rest) - w[t-1]) / tau_w + b s[t]

    Args:
        tau_w: time constant of the adaptation, positive, in the unit of tau.
        a: adaptation by the membrane.
        b: adaptation by a spike.
        tau, threshold, v_rest, v_rheobase, sharpness, surrogate, reset, **options: as in ExponentialIF.
    """

    starts: ClassVar[Mapping[str, str]] = {"v": "v_rest"}
    limits: Mapping[str, Any] = {
        "tau": POSITIVE,
        "tau_w": POSITIVE,
        "threshold": THRESHOLD,
        "sharpness": POSITIVE,
        **KINDS,
    }
    times: ClassVar[tuple[str, ...] | None] = ("tau", "tau_w")
    param_map = staticmethod(leaks)

    @constructor_of(F.adex_step, F.AdExState)
    def __init__(
        self,
        tau: Value = 8.0,
        threshold: Value = 1.0,
        tau_w: Value = 40.0,
        a: Value = 0.1,
        b: Value = 0.1,
        v_rest: Value = 0.0,
        v_rheobase: Value = 0.5,
        sharpness: Value = 0.2,
        *,
        surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
        reset: F.Reset = F.to_zero,
        **options: Unpack[Options],
    ) -> None: ...
