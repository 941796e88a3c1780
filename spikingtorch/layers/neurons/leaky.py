"""Layers of leaky integrate-and-fire neurons, and the readout LI."""

from collections.abc import Mapping
from typing import Any, Unpack

from spikingtorch import functional as F
from spikingtorch.layers.limits import DIVISOR, FIRES, KINDS, POSITIVE, SHARE, THRESHOLD, Limits
from spikingtorch.layers.neurons.older_names import OlderNames
from spikingtorch.layers.options import TAU, OlderOptions, Options, Value, arguments, constructor_of, tau_or_decay
from spikingtorch.layers.param_maps import Leaky, TimeConstants, decay_and_gains, filter_decays
from spikingtorch.layers.steplayer import StepLayer


class LIF(Leaky, OlderNames):
    """Apply leaky integrate-and-fire neurons to an input, one step per call.

    For each entry of the input, which has its own membrane v,

        u[t] = a v[t-1] + b x[t],  s[t] = H(u[t] - threshold),  v[t] = reset(u[t], s[t], threshold)
        a = exp(-1 / tau), b = tau (1 - a);  with ``decay``: a = decay, b = 1

    Args:
        tau: membrane time constant in steps, positive, with ``dt`` in its unit; or give ``decay``.
        threshold: membrane at which the neuron fires.
        decay: share of the membrane kept over a step, in [0, 1], in place of tau.
        surrogate, reset: spike function, and what a spike does to the membrane, as in IF.
        norm_input: multiply the input by 1 - a in place of b, so that a constant input is where the membrane ends.
        **options: learnable ("tau" or "decay", "threshold", "v_reset" or True for all), recurrent, constrain,
            refractory, returns and dt, as in StepLayer. Older code writes LIF(tau, v0, beta, decay), as in IF.

    >>> import torch
    >>> LIF(tau=torch.full((4, 1, 1), 8.0), learnable="tau")
    LIF(tau=<4x1x1> (learnable), threshold=1.0, surrogate=Sigmoid(beta=5.0), reset=to_zero)
    """

    limits: Mapping[str, Any] = {"tau": POSITIVE, "decay": SHARE, "v0": THRESHOLD, **KINDS}

    @arguments("tau", "v0", "beta", "decay")
    def __init__(
        self,
        tau: Value = TAU,
        threshold: Value = 1.0,
        *older: Any,
        decay: Value | None = None,
        surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
        reset: F.Reset = F.to_zero,
        norm_input: bool = False,
        **options: Unpack[OlderOptions],
    ) -> None:
        given: Any = tau_or_decay(type(self).__name__, tau, decay) | {"threshold": threshold, "surrogate": surrogate}
        super().__init__(F.lif_step, F.LIFState, **given, reset=reset, norm_input=norm_input, **options)


class LI(Leaky, StepLayer):
    """Apply leaky integrators to an input, one step per call: a readout whose output is its membrane.

    For each entry of the input,

        v[t] = a v[t-1] + b x[t],  a and b as in LIF

    Args:
        tau: membrane time constant in steps, positive, with ``dt`` in its unit; or give ``decay``.
        decay: share of the membrane kept over a step, in [0, 1], in place of tau.
        norm_input: as in LIF.
        **options: learnable ("tau" or "decay"), recurrent, constrain, returns and dt, as in StepLayer.

    >>> import torch
    >>> LI(decay=0.5)(torch.ones(1))
    tensor([1.])
    """

    limits: Mapping[str, Any] = {"tau": POSITIVE, "decay": SHARE}

    @arguments()
    def __init__(
        self, tau: Value = TAU, decay: Value | None = None, *, norm_input: bool = False, **options: Unpack[Options]
    ) -> None:
        given = tau_or_decay(type(self).__name__, tau, decay)
        super().__init__(F.li_step, F.LIState, **given, norm_input=norm_input, **options)


class SpikingDecay(OlderNames):
    """Apply neurons whose membrane is divided by tau to an input, one step per call.

    For each entry of the input,

        u[t] = v[t-1] / tau + x[t],  s[t] = H(u[t] - threshold),  v[t] = reset(u[t], s[t], threshold)

    Args:
        tau: divisor of the membrane, positive.
        threshold, surrogate, reset: as in LIF.
        **options: learnable ("tau", "threshold", "v_reset" or True for all), recurrent, constrain, refractory, returns
            and dt, as in StepLayer. A learnable tau is kept at 1 or above, so that the membrane decays.
    """

    limits: Mapping[str, Any] = {"tau": DIVISOR, "v0": THRESHOLD, **KINDS}

    @constructor_of(F.spiking_decay_step, F.SpikingDecayState, older=("tau", "v0", "beta"))
    def __init__(
        self,
        tau: Value,
        threshold: Value = 1.0,
        *older: Any,
        surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
        reset: F.Reset = F.to_zero,
        **options: Unpack[OlderOptions],
    ) -> None: ...


class CoarseLIF(TimeConstants, OlderNames):
    """Apply LIF neurons to an input, on a time step as coarse as their refractory time.

    For each entry of the input; in the step after a spike, a neuron integrates less,

        u[t] = a v[t-1] + ((1 - s[t-1]) b + s[t-1] c) x[t]
        s[t] = H(u[t] - threshold),  v[t] = reset(u[t], s[t], threshold)
        a = exp(-1 / tau), b = tau (1 - a), c = tau (1 - b)

    Args:
        tau: membrane time constant in steps, positive; with ``dt`` in its unit.
        threshold, surrogate, reset: as in LIF.
        **options: learnable ("tau", "threshold" or True for all), recurrent, constrain, refractory, returns and dt,
            as in StepLayer.
    """

    limits: Mapping[str, Any] = {"tau": POSITIVE, "v0": THRESHOLD, **KINDS}
    param_map = staticmethod(decay_and_gains)

    @constructor_of(F.coarse_lif_step, F.CoarseLIFState, older=("tau", "v0", "beta"))
    def __init__(
        self,
        tau: Value,
        threshold: Value = 1.0,
        *older: Any,
        surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
        reset: F.Reset = F.to_zero,
        **options: Unpack[OlderOptions],
    ) -> None: ...


SpikingLayer = CoarseLIF  # the older package's other name for it


class ALIF(Leaky, StepLayer):
    """Apply LIF neurons with an adaptive threshold to an input.

        theta[t] = threshold + adaptation a[t-1],  u[t] = d v[t-1] + b x[t],  s[t] = H(u[t] - theta[t])
        v[t] = reset(u[t], s[t], theta[t]),  a[t] = r a[t-1] + (1 - r) s[t],  r = exp(-1 / tau_adaptation)
        d and b of tau as a and b in LIF

    Args:
        tau: membrane time constant in steps, positive; with ``dt`` in its unit.
        threshold: membrane at which a neuron fires after a long silence.
        tau_adaptation: time constant of the adaptation, positive, in the unit of tau.
        adaptation: rise of the threshold of a neuron that fires at every step.
        surrogate, reset: spike function, and what a spike does to the membrane, as in IF.
        norm_input: as in LIF.
        **options: learnable, recurrent, constrain, refractory, returns and dt, as in StepLayer.
    """

    limits: Mapping[str, Any] = {"tau": POSITIVE, "tau_adaptation": POSITIVE, **FIRES}

    @constructor_of(F.alif_step, F.ALIFState)
    def __init__(
        self,
        tau: Value = 8.0,
        threshold: Value = 1.0,
        tau_adaptation: Value = 80.0,
        adaptation: Value = 1.8,
        *,
        surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
        reset: F.Reset = F.by_subtraction,
        norm_input: bool = False,
        **options: Unpack[Options],
    ) -> None: ...


class SEAdLIF(TimeConstants, StepLayer):
    """Apply LIF neurons with an adaptation current (SE-adLIF) to an input: they can oscillate.

        u[t] = d v[t-1] + (1 - d) (x[t] - w[t-1]),  s[t] = H(u[t] - threshold),  v[t] = reset(u[t], s[t], threshold)
        w[t] = r w[t-1] + (1 - r) q (a v[t] + b s[t]),  d = exp(-1 / tau),  r = exp(-1 / tau_w)

    Args:
        tau: membrane time constant in steps, positive; with ``dt`` in its unit.
        threshold: membrane at which the neuron fires.
        tau_w: time constant of the adaptation, positive, in the unit of tau.
        a: how strongly the adaptation follows the membrane; kept in [0, 1] if it learns.
        b: how strongly it follows spikes; kept in [0, 2] if it learns.
        q: factor of both.
        surrogate, reset: spike function, and what a spike does to the membrane, as in IF.
        **options: learnable, recurrent, constrain, refractory, returns and dt, as in StepLayer.
    """

    limits: Mapping[str, Any] = {
        **{"tau": POSITIVE, "tau_w": POSITIVE, "a": Limits(learned=SHARE)},
        **{"b": Limits(learned=Limits(least=0.0, most=2.0)), **FIRES},
    }
    param_map = staticmethod(filter_decays)

    @constructor_of(F.se_adlif_step, F.SEAdLIFState)
    def __init__(
        self,
        tau: Value = 15.0,
        threshold: Value = 1.0,
        tau_w: Value = 180.0,
        a: Value = 0.5,
        b: Value = 1.0,
        q: Value = 120.0,
        *,
        surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
        reset: F.Reset = F.detached(F.to_zero),
        **options: Unpack[Options],
    ) -> None: ...
