"""Layers of neurons by Euler's method, whose membrane follows a line, a parabola or an exponential function."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.layers.limits import FIRES, KINDS, POSITIVE, Limits
from spikingtorch.layers.options import Options, StepOptions, Value, arguments, constructor_of
from spikingtorch.layers.param_maps import TimeConstants, leaks
from spikingtorch.layers.rest import RestingLayer, filled
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.validation import check_parameter


def _leak(stored: dict[str, Any]) -> dict[str, Any]:
    params = dict(stored)
    return params | {"leak": F.leak_from_w(params.pop("w"))}


class ParametricLIF(RestingLayer):
    """Apply LIF neurons with a learnable time constant to an input, by Euler's method (W. Fang et al., ICCV 2021).

        u[t] = v[t-1] + k (x[t] - (v[t-1] - v_rest)),  s[t] = H(u[t] - threshold),  v[t] = reset(u[t], s[t], threshold)
        k = 1 / tau = 1 / (1 + exp(-w))

    The parameter w is learnable and may take any value: k stays between 0 and 1.

    Args:
        tau: the initial time constant in steps, above 1; with ``dt`` in its unit, and above dt.
        threshold: membrane at which the neuron fires.
        v_rest: membrane without input; a sequence starts there, without a gradient.
        surrogate, reset: spike function, and what a spike does to the membrane, as in IF.
        **options: learnable ("w" by default), recurrent, constrain, refractory, returns and dt, as in StepLayer.

    >>> ParametricLIF(tau=2.0)
    ParametricLIF(w=0 (learnable), threshold=1.0, v_rest=0.0, surrogate=Sigmoid(beta=5.0), reset=to_zero)
    """

    limits: Mapping[str, Any] = {"w": Limits(), **FIRES}
    fixed: ClassVar[tuple[str, ...]] = ("dt",)
    times: ClassVar[tuple[str, ...] | None] = ()
    param_map = staticmethod(_leak)

    @arguments()
    def __init__(
        self,
        tau: Value = 2.0,
        threshold: Value = 1.0,
        v_rest: Value = 0.0,
        *,
        surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
        reset: F.Reset = F.to_zero,
        **options: Unpack[Options],
    ) -> None:
        dt = options.get("dt", 1.0)
        check_parameter("ParametricLIF", "dt", dt, above=0.0)
        check_parameter("ParametricLIF", "tau", tau, above=dt)
        ratio = tau / dt - 1.0
        w = -torch.log(ratio.detach()) if isinstance(ratio, Tensor) else math.log(1.0 / ratio)
        given: Any = {"threshold": threshold, "v_rest": v_rest, "surrogate": surrogate, "reset": reset}
        options.setdefault("learnable", "w")
        super().__init__(F.euler_lif_step, F.EulerLIFState, w=w, **given, **options)

    @property
    def tau(self) -> Tensor:
        """The time constant, in the unit of dt."""
        return (1.0 + torch.exp(-torch.as_tensor(self.w))) * getattr(self, "dt", 1.0)


class QuadraticIF(TimeConstants, RestingLayer):
    """Apply quadratic integrate-and-fire neurons to an input, by Euler's method.

        u[t] = v[t-1] + (curvature (v[t-1] - v_rest) (v[t-1] - v_critical) + x[t]) / tau
        s[t] = H(u[t] - threshold),  v[t] = reset(u[t], s[t], threshold)

    Args:
        tau: membrane time constant in steps, positive; with ``dt`` in its unit.
        threshold: membrane at which the neuron fires.
        v_rest: membrane to which small deviations return; a sequence starts there, without a gradient.
        v_critical: membrane above which it rises to a spike without further input.
        curvature: of the parabola, positive.
        surrogate, reset: spike function, and what a spike does to the membrane, as in IF.
        **options: learnable, recurrent, constrain, refractory, returns and dt, as in StepLayer.
    """

    limits: Mapping[str, Any] = {"tau": POSITIVE, "curvature": POSITIVE, **FIRES}
    param_map = staticmethod(leaks)

    @constructor_of(F.quadratic_if_step, F.QuadraticIFState)
    def __init__(
        self,
        tau: Value = 8.0,
        threshold: Value = 1.0,
        v_rest: Value = 0.0,
        v_critical: Value = 0.8,
        curvature: Value = 1.0,
        *,
        surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
        reset: F.Reset = F.to_zero,
        **options: Unpack[Options],
    ) -> None: ...


class ExponentialIF(TimeConstants, RestingLayer):
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

    limits: Mapping[str, Any] = {"tau": POSITIVE, "sharpness": POSITIVE, **FIRES}
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


class AdEx(TimeConstants, RestingLayer):
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

    limits: Mapping[str, Any] = {"tau": POSITIVE, "tau_w": POSITIVE, "sharpness": POSITIVE, **FIRES}
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


class Izhikevich(StepLayer):
    """Apply Izhikevich neurons to an input, v in mV and time in ms.

        u[t] = v[t-1] + dt (0.04 v[t-1]^2 + 5 v[t-1] + 140 - w[t-1] + x[t]),  s[t] = H(u[t] - threshold)
        v[t] = reset(u[t], s[t], threshold),  w[t] = w[t-1] + dt a (b (u[t] - v_recovery) - w[t-1]) + d s[t]

    Args:
        a: rate of the recovery, in 1 / ms.
        b: recovery per unit of the membrane.
        c: membrane after a spike, in mV.
        d: recovery that a spike adds.
        threshold: membrane at the peak of a spike, in mV.
        dt: length of a step, in ms.
        v_rest: membrane at which a sequence starts, in mV, with w = b (v_rest - v_recovery).
        curve: the coefficients of the membrane's parabola, if not the default.
        v_recovery: membrane at which the recovery is driven to zero, in mV.
        surrogate: spike function, of u - threshold in mV.
        reset: another reset rule in place of ``to_value(c)``, such as ``detached(to_value(c))``.
        **options: learnable (names of parameters, among them "c", or True for all), recurrent, constrain,
            refractory and returns, as in StepLayer.
    """

    limits: Mapping[str, Any] = {"threshold": Limits(), **KINDS}

    def __init__(
        self,
        a: Value = 0.02,
        b: Value = 0.2,
        c: Value | None = None,
        d: Value = 8.0,
        *,
        threshold: Value = 30.0,
        dt: float = 1.0,
        v_rest: Value = -65.0,
        curve: F.IzhikevichCurve = F.IzhikevichCurve(),
        v_recovery: Value = 0.0,
        surrogate: F.Surrogate = F.Sigmoid(beta=0.5),
        reset: F.Reset | None = None,
        **options: Unpack[StepOptions],
    ) -> None:
        if c is not None and reset is not None:
            raise ValueError(f"Izhikevich: c={c!r} is the value of the reset rule; give it to reset={reset!r} instead")
        if any([isinstance(each, Tensor) and each.requires_grad for each in curve]):
            raise ValueError("Izhikevich: curve cannot be learned; give it tensors without a gradient")
        reset = F.to_value(-65.0 if c is None else c) if reset is None else reset
        recovers: Any = {"a": a, "b": b, "d": d, "curve": curve, "v_recovery": v_recovery, "dt": dt}
        fires: Any = {"threshold": threshold, "surrogate": surrogate, "reset": reset, "other_names": {"v_reset": "c"}}
        super().__init__(F.izhikevich_step, F.IzhikevichState, **recovers, **fires, **options)
        self._keep("v_rest", v_rest)

    @property
    def c(self) -> Any:
        """Membrane after a spike, in mV: the value of the reset rule."""
        return self.v_reset

    @c.setter
    def c(self, value: Any) -> None:
        self.v_reset = value

    def rest_state(self, x: Tensor) -> F.IzhikevichState:
        """Return the state at which a sequence starts."""
        own: Any = self
        v = filled(x, own.v_rest)
        return F.IzhikevichState(v=v, w=filled(x, own.b) * (v - filled(x, own.v_recovery)))
