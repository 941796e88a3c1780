"""Layers of leaky integrators: LIF, SpikingDecay of the older package, and the readout LI."""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from spikingtorch import functional as F
from spikingtorch.layers.limits import DIVISOR, KINDS, POSITIVE, SHARE, THRESHOLD
from spikingtorch.layers.options import (
    OLDER_NAMES,
    TAU,
    Options,
    Value,
    firing,
    tau_or_decay,
    threshold_property,
    warn_of_beta,
)
from spikingtorch.layers.param_maps import decay_and_gain
from spikingtorch.layers.steplayer import StepLayer


class LIF(StepLayer):
    """Apply leaky integrate-and-fire neurons to an input, one step per call.

    For each entry of the input, which has its own membrane v,

        u[t] = a v[t-1] + b x[t],  s[t] = H(u[t] - v0),  v[t] = reset(u[t], s[t], v0)
        a = exp(-1 / tau), b = tau (1 - a);  with ``decay``: a = decay, b = 1

    Args:
        tau: membrane time constant in steps, positive, with ``dt`` in its unit; or give ``decay``.
        v0: threshold, as the older package calls it.
        beta: slope of the default surrogate, Sigmoid(beta).
        decay: share of the membrane kept over a step, in [0, 1], in place of tau.
        threshold: the same as v0.
        surrogate: another spike function in place of the default.
        reset: what a spike does to the membrane, as in IF.
        **options: learnable ("tau" or "decay", "threshold", "v_reset" or True for all), recurrent, constrain,
            refractory, returns and dt, as in StepLayer.

    >>> import torch
    >>> LIF(tau=torch.full((4, 1, 1), 8.0), learnable="tau")
    LIF(tau=<4x1x1> (learnable), threshold=1.0, surrogate=Sigmoid(beta=5.0), reset=to_zero)
    """

    attribute_names: ClassVar[Mapping[str, str]] = OLDER_NAMES
    limits: Mapping[str, Any] = {"tau": POSITIVE, "decay": SHARE, "v0": THRESHOLD, **KINDS}
    times: ClassVar[tuple[str, ...] | None] = ("tau",)
    threshold: Any = threshold_property("v0")
    param_map = staticmethod(decay_and_gain)

    def __init__(
        self,
        tau: Value = TAU,
        v0: Value = 1.0,
        beta: float = 5.0,
        decay: Value | None = None,
        *,
        threshold: Value | None = None,
        surrogate: F.Surrogate | None = None,
        reset: F.Reset = F.to_zero,
        **options: Unpack[Options],
    ) -> None:
        kept = tau_or_decay(type(self).__name__, tau, decay)
        warn_of_beta(type(self).__name__, beta, tau, decay)
        neuron = firing(type(self).__name__, v0, threshold, beta, surrogate)
        super().__init__(F.lif_step, F.LIFState, **kept, **neuron, reset=reset, **options)


class GradedLIF(LIF):
    """Apply LIF neurons whose spikes carry their membrane: ``LIF(surrogate=Graded(...))``.

        out[t] = s[t] u[t],  u, s and v as in LIF

    Args:
        tau: membrane time constant in steps, positive, with ``dt`` in its unit.
        threshold: membrane at which the neuron fires.
        surrogate: a plain surrogate of s.
        reset: what a spike does to the membrane, as in IF.
        **options: learnable, recurrent, constrain, refractory, returns and dt, as in LIF.

    >>> import torch
    >>> GradedLIF(tau=8.0)(torch.tensor([0.5, 2.0]), init=True)
    tensor([0.0000, 1.8800])
    """

    def __init__(
        self,
        tau: Value = 8.0,
        threshold: Value = 1.0,
        *,
        surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
        reset: F.Reset = F.to_zero,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(tau, threshold=threshold, surrogate=F.Graded(surrogate), reset=reset, **options)


class LI(StepLayer):
    """Apply leaky integrators to an input, one step per call: a readout whose output is its membrane.

    For each entry of the input,

        v[t] = a v[t-1] + b x[t],  a and b as in LIF

    Args:
        tau: membrane time constant in steps, positive, with ``dt`` in its unit; or give ``decay``.
        decay: share of the membrane kept over a step, in [0, 1], in place of tau.
        **options: learnable ("tau" or "decay"), recurrent, constrain, returns and dt, as in StepLayer.

    >>> import torch
    >>> LI(decay=0.5)(torch.ones(1))
    tensor([1.])
    """

    limits: Mapping[str, Any] = {"tau": POSITIVE, "decay": SHARE}
    times: ClassVar[tuple[str, ...] | None] = ("tau",)
    param_map = staticmethod(decay_and_gain)

    def __init__(self, tau: Value = TAU, decay: Value | None = None, **options: Unpack[Options]) -> None:
        super().__init__(F.li_step, F.LIState, **tau_or_decay(type(self).__name__, tau, decay), **options)


class SpikingDecay(StepLayer):
    """Apply neurons whose membrane is divided by tau to an input, one step per call.

    For each entry of the input,

        u[t] = v[t-1] / tau + x[t],  s[t] = H(u[t] - v0),  v[t] = reset(u[t], s[t], v0)

    Args:
        tau: divisor of the membrane, positive.
        v0: threshold, as the older package calls it.
        beta: slope of the default surrogate, Sigmoid(beta).
        threshold: the same as v0.
        surrogate: another spike function in its place.
        reset: what a spike does to the membrane, as in IF.
        **options: learnable ("tau", "threshold", "v_reset" or True for all), recurrent, constrain, refractory, returns
            and dt, as in StepLayer. A learnable tau is kept at 1 or above, so that the membrane decays.
    """

    attribute_names: ClassVar[Mapping[str, str]] = OLDER_NAMES
    limits: Mapping[str, Any] = {"tau": DIVISOR, "v0": THRESHOLD, **KINDS}
    times: ClassVar[tuple[str, ...] | None] = ()
    threshold: Any = threshold_property("v0")

    def __init__(
        self,
        tau: Value,
        v0: Value = 1.0,
        beta: float = 5.0,
        *,
        threshold: Value | None = None,
        surrogate: F.Surrogate | None = None,
        reset: F.Reset = F.to_zero,
        **options: Unpack[Options],
    ) -> None:
        neuron = firing(type(self).__name__, v0, threshold, beta, surrogate)
        super().__init__(F.spiking_decay_step, F.SpikingDecayState, tau=tau, **neuron, reset=reset, **options)
