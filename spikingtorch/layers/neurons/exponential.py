"""Layers of neurons whose spike takes off exponentially."""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from spikingtorch import functional as F
from spikingtorch.layers.limits import KINDS, POSITIVE, THRESHOLD
from spikingtorch.layers.options import Options, Value, own_arguments
from spikingtorch.layers.param_maps import leaks
from spikingtorch.layers.rest import RestingLayer


class ExponentialIF(RestingLayer):
    """Apply exponential integrate-and-fire neurons to an input, by Euler's method.

        u[t] = v[t-1] + (v_rest - v[t-1] + sharpness exp((v[t-1] - v_rheobase) / sharpness) + x[t]) / tau
        s[t] = H(u[t] - threshold),  v[t] = reset(u[t], s[t], threshold)

    Args:
        tau: membrane time constant in steps, positive; with ``dt`` in its unit.
        threshold: membrane at which the neuron fires.
        v_rest: membrane without input, but for the exponential; a sequence starts there, without a gradient.
        v_rheobase: membrane at which the spike takes off.
        sharpness: range of the membrane in which it does, positive.
        surrogate: spike function.
        reset: what a spike does to the membrane, as in IF.
        **options: learnable, recurrent, constrain, refractory, returns and dt, as in StepLayer.
    """

    starts: ClassVar[Mapping[str, str]] = {"v": "v_rest"}
    limits: Mapping[str, Any] = {"tau": POSITIVE, "threshold": THRESHOLD, "sharpness": POSITIVE, **KINDS}
    times: ClassVar[tuple[str, ...] | None] = ("tau",)
    param_map = staticmethod(leaks)

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
    ) -> None:
        super().__init__(F.exponential_if_step, F.ExponentialIFState, **own_arguments(locals()))


class AdEx(RestingLayer):
    """Apply adaptive exponential integrate-and-fire neurons to an input, by Euler's method.

        u[t] = v[t-1] + (v_rest - v[t-1] + sharpness exp((v[t-1] - v_rheobase) / sharpness) - w[t-1] + x[t]) / tau
        s[t] = H(u[t] - threshold),  v[t] = reset(u[t], s[t], threshold)
        w[t] = w[t-1] + (a (v[t-1] - v_rest) - w[t-1]) / tau_w + b s[t]

    Args:
        tau: membrane time constant in steps, positive; with ``dt`` in its unit.
        threshold: membrane at which the neuron fires.
        tau_w: time constant of the adaptation, positive, in the unit of tau.
        a: adaptation by the membrane.
        b: adaptation by a spike.
        v_rest: membrane without input, but for the exponential; a sequence starts there, without a gradient.
        v_rheobase: membrane at which the spike takes off.
        sharpness: range of the membrane in which it does, positive.
        surrogate: spike function.
        reset: what a spike does to the membrane, as in IF.
        **options: learnable, recurrent, constrain, refractory, returns and dt, as in StepLayer.
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
    ) -> None:
        super().__init__(F.adex_step, F.AdExState, **own_arguments(locals()))
