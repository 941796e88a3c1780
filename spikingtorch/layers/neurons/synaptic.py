"""Layers of leaky neurons behind a synapse with one time constant or two."""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from spikingtorch import functional as F
from spikingtorch.layers.constructor import constructor_of
from spikingtorch.layers.limits import KINDS, POSITIVE, THRESHOLD
from spikingtorch.layers.options import Options, Value
from spikingtorch.layers.param_maps import synaptic_decays
from spikingtorch.layers.steplayer import StepLayer


class CubaLIF(StepLayer):
    """Apply current-based LIF neurons to an input: the input feeds a synaptic current, which feeds the membrane.

        i[t] = exp(-1 / tau_syn) i[t-1] + x[t],  u[t] = a v[t-1] + b i[t],  s[t] = H(u[t] - threshold)
        v[t] = reset(u[t], s[t], threshold),  a and b of tau as in LIF

    Args:
        tau_syn: time constant of the current in steps, positive; with ``dt`` in its unit.
        tau: membrane time constant in steps, positive; with ``dt`` in its unit.
        threshold: membrane at which the neuron fires.
        surrogate, reset: spike function, and what a spike does to the membrane, as in IF.
        **options: learnable, recurrent, constrain, refractory, returns and dt, as in StepLayer.
    """

    limits: Mapping[str, Any] = {"tau_syn": POSITIVE, "tau": POSITIVE, "threshold": THRESHOLD, **KINDS}
    times: ClassVar[tuple[str, ...] | None] = ("tau_syn", "tau")
    param_map = staticmethod(synaptic_decays)

    @constructor_of(F.cuba_lif_step, F.CubaLIFState)
    def __init__(
        self,
        tau_syn: Value = 4.0,
        tau: Value = 8.0,
        threshold: Value = 1.0,
        *,
        surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
        reset: F.Reset = F.to_zero,
        **options: Unpack[Options],
    ) -> None: ...


class AlphaLIF(StepLayer):
    """Apply LIF neurons to an input whose synaptic current rises with one time constant and decays with another.

        r[t] = d r[t-1] + (1 - d) x[t],  d = exp(-1 / tau_rise)
        i[t] = exp(-1 / tau_syn) i[t-1] + r[t],  u[t] = a v[t-1] + b i[t],  s[t] = H(u[t] - threshold)
        v[t] = reset(u[t], s[t], threshold),  a and b of tau as in LIF

    Args:
        tau_rise: time constant of the rise in steps, positive; with ``dt`` in its unit.
        tau_syn: time constant of the decay, positive, in the same unit.
        tau, threshold, surrogate, reset, **options: as in CubaLIF.
    """

    limits: Mapping[str, Any] = {
        "tau_rise": POSITIVE,
        "tau_syn": POSITIVE,
        "tau": POSITIVE,
        "threshold": THRESHOLD,
        **KINDS,
    }
    times: ClassVar[tuple[str, ...] | None] = ("tau_rise", "tau_syn", "tau")
    param_map = staticmethod(synaptic_decays)

    @constructor_of(F.alpha_lif_step, F.AlphaLIFState)
    def __init__(
        self,
        tau_rise: Value = 2.0,
        tau_syn: Value = 4.0,
        tau: Value = 8.0,
        threshold: Value = 1.0,
        *,
        surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
        reset: F.Reset = F.to_zero,
        **options: Unpack[Options],
    ) -> None: ...
