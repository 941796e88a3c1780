"""The layer of leaky neurons whose threshold rises with each of their spikes."""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from spikingtorch import functional as F
from spikingtorch.layers.constructor import constructor_of
from spikingtorch.layers.limits import KINDS, POSITIVE, THRESHOLD
from spikingtorch.layers.options import Options, Value
from spikingtorch.layers.param_maps import synaptic_decays
from spikingtorch.layers.steplayer import StepLayer


class ALIF(StepLayer):
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
        **options: learnable, recurrent, constrain, refractory, returns and dt, as in StepLayer.
    """

    limits: Mapping[str, Any] = {"tau": POSITIVE, "threshold": THRESHOLD, "tau_adaptation": POSITIVE, **KINDS}
    times: ClassVar[tuple[str, ...] | None] = ("tau", "tau_adaptation")
    param_map = staticmethod(synaptic_decays)

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
        **options: Unpack[Options],
    ) -> None: ...
