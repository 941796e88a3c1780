"""The layer of LIF neurons on a time step as coarse as their refractory time."""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from spikingtorch import functional as F
from spikingtorch.layers.limits import KINDS, POSITIVE, THRESHOLD
from spikingtorch.layers.options import OLDER_NAMES, Options, Value, firing, threshold_property
from spikingtorch.layers.param_maps import decay_and_gains
from spikingtorch.layers.steplayer import StepLayer


class CoarseLIF(StepLayer):
    """Apply LIF neurons to an input, on a time step as coarse as their refractory time.

    For each entry of the input; in the step after a spike, a neuron integrates less,

        u[t] = a v[t-1] + ((1 - s[t-1]) b + s[t-1] c) x[t],  s[t] = H(u[t] - v0),  v[t] = reset(u[t], s[t], v0)
        a = exp(-1 / tau), b = tau (1 - a), c = tau (1 - b)

    Args:
        tau: membrane time constant in steps, positive; with ``dt`` in its unit.
        v0: threshold, as the older package calls it.
        beta: slope of the default surrogate, Sigmoid(beta).
        threshold: the same as v0.
        surrogate: another spike function in its place.
        reset: what a spike does to the membrane, as in IF.
        **options: learnable ("tau", "threshold" or True for all), recurrent, constrain, refractory, returns and dt,
            as in StepLayer.
    """

    attribute_names: ClassVar[Mapping[str, str]] = OLDER_NAMES
    limits: Mapping[str, Any] = {"tau": POSITIVE, "v0": THRESHOLD, **KINDS}
    times: ClassVar[tuple[str, ...] | None] = ("tau",)
    threshold: Any = threshold_property("v0")
    param_map = staticmethod(decay_and_gains)

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
        super().__init__(F.coarse_lif_step, F.CoarseLIFState, tau=tau, **neuron, reset=reset, **options)


SpikingLayer = CoarseLIF  # the older package's other name for it
