"""Layers of neurons that oscillate."""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from spikingtorch import functional as F
from spikingtorch.layers.limits import DAMPING, FIRES, POSITIVE, SHARE, Limits
from spikingtorch.layers.options import StepOptions, Value, constructor_of
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.validation import check_parameter

# in units of 1 / dt, where the derivative of the damping is infinite. A learnable frequency stays below 1 / dt by more
# than the rounding error of any dtype
_HIGHEST = 1.0 - 2.0**-6


class ResonateAndFire(StepLayer):
    """Apply resonate-and-fire neurons to an input: they fire at their own frequency.

        u[t] = v[t-1] + dt (damping v[t-1] - omega w[t-1] + x[t]),  w[t] = w[t-1] + dt (omega v[t-1] + damping w[t-1])
        s[t] = H(u[t] - threshold),  v[t] = reset(u[t], s[t], threshold)

    Args:
        omega: angular frequency, in radians per unit of time.
        damping: rate at which an oscillation decays, at most zero.
        threshold: membrane at which the neuron fires.
        dt: length of a step, in the unit of time.
        surrogate, reset: spike function, and what a spike does to the membrane, as in IF.
        **options: learnable, recurrent, constrain, refractory and returns, as in StepLayer.
    """

    limits: Mapping[str, Any] = {"damping": DAMPING, **FIRES}

    @constructor_of(F.resonate_and_fire_step, F.ResonateAndFireState)
    def __init__(
        self,
        omega: Value = 10.0,
        damping: Value = -1.0,
        threshold: Value = 1.0,
        dt: float = 0.01,
        *,
        surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
        reset: F.Reset = F.none,
        **options: Unpack[StepOptions],
    ) -> None: ...


class BalancedResonateAndFire(StepLayer):
    """Apply balanced resonate-and-fire neurons to an input: stable at every frequency, refractory instead of reset.

        p = (-1 + sqrt(1 - (dt omega)^2)) / dt,  b[t] = p - offset - q[t-1]
        v[t] = v[t-1] + dt (b[t] v[t-1] - omega w[t-1] + x[t]),  w[t] = w[t-1] + dt (omega v[t-1] + b[t] w[t-1])
        s[t] = H(v[t] - threshold - q[t-1]),  q[t] = decay_refractory q[t-1] + s[t]

    Args:
        omega: angular frequency, in radians per unit of time, at most 1 / dt.
        offset: damping, in addition to the damping at which the amplitude stays constant; positive.
        threshold: membrane at which a neuron fires after a long silence.
        decay_refractory: share of q kept over a step, in [0, 1].
        dt: length of a step, in the unit of time.
        surrogate: spike function.
        **options: learnable, recurrent, constrain, refractory and returns, as in StepLayer.
    """

    fixed: ClassVar[tuple[str, ...]] = ("dt",)
    limits: Mapping[str, Any] = {"offset": POSITIVE, "decay_refractory": SHARE, **FIRES}

    def __init__(
        self,
        omega: Value = 10.0,
        offset: Value = 1.0,
        threshold: Value = 1.0,
        decay_refractory: Value = 0.9,
        dt: float = 0.01,
        *,
        surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
        **options: Unpack[StepOptions],
    ) -> None:
        check_parameter("BalancedResonateAndFire", "dt", dt, above=0.0)
        most = Limits(least=-1.0 / dt, most=1.0 / dt, learned=Limits(least=-_HIGHEST / dt, most=_HIGHEST / dt))
        object.__setattr__(self, "limits", {**type(self).limits, "omega": most})
        given: Any = {"omega": omega, "offset": offset, "decay_refractory": decay_refractory, "dt": dt}
        given |= {"threshold": threshold, "surrogate": surrogate}
        super().__init__(F.balanced_resonate_and_fire_step, F.BalancedResonateAndFireState, **given, **options)


class HarmonicResonateAndFire(StepLayer):
    """Apply damped harmonic oscillators to an input: they fire by their velocity, and are refractory.

        b[t] = dt omega^2 / 2 + offset + q[t-1],  w[t] = w[t-1] + dt v[t-1]
        v[t] = v[t-1] + dt (x[t] - 2 b[t] v[t-1] - omega^2 w[t])
        s[t] = H(v[t] - threshold - q[t-1]),  q[t] = decay_refractory q[t-1] + s[t]

    Args:
        omega: angular frequency, in radians per unit of time.
        offset: damping, in addition to dt omega^2 / 2; positive.
        threshold, decay_refractory, dt, surrogate, **options: as in BalancedResonateAndFire.
    """

    limits: Mapping[str, Any] = {"offset": POSITIVE, "decay_refractory": SHARE, **FIRES}

    @constructor_of(F.harmonic_resonate_and_fire_step, F.HarmonicResonateAndFireState)
    def __init__(
        self,
        omega: Value = 10.0,
        offset: Value = 1.0,
        threshold: Value = 1.0,
        decay_refractory: Value = 0.9,
        dt: float = 0.01,
        *,
        surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
        **options: Unpack[StepOptions],
    ) -> None: ...
