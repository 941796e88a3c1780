"""Layers of synapses: filters of spikes, and short-term plasticity."""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from spikingtorch import functional as F
from spikingtorch.layers.constructor import constructor_of
from spikingtorch.layers.limits import POSITIVE, SHARE
from spikingtorch.layers.options import Options, Value
from spikingtorch.layers.param_maps import decays, filter_decays
from spikingtorch.layers.steplayer import StepLayer


class ExponentialSynapse(StepLayer):
    """Turn spikes into currents that jump and decay.

        i[t] = exp(-1 / tau) i[t-1] + x[t]

    Args:
        tau: time constant of the current in steps, positive; with ``dt`` in its unit.
        **options: learnable, recurrent, constrain, refractory, returns and dt, as in StepLayer.
    """

    limits: Mapping[str, Any] = {"tau": POSITIVE}
    times: ClassVar[tuple[str, ...] | None] = ("tau",)
    param_map = staticmethod(filter_decays)

    @constructor_of(F.exponential_synapse_step, F.ExponentialSynapseState)
    def __init__(self, tau: Value = 4.0, **options: Unpack[Options]) -> None: ...


class AlphaSynapse(StepLayer):
    """Turn spikes into currents that rise with one time constant and decay with another.

        r[t] = d r[t-1] + (1 - d) x[t],  d = exp(-1 / tau_rise)
        i[t] = exp(-1 / tau) i[t-1] + r[t]

    Args:
        tau_rise: time constant of the rise in steps, positive; with ``dt`` in its unit.
        tau: time constant of the decay, positive, in the same unit.
        **options: learnable, recurrent, constrain, refractory, returns and dt, as in StepLayer.
    """

    limits: Mapping[str, Any] = {"tau_rise": POSITIVE, "tau": POSITIVE}
    times: ClassVar[tuple[str, ...] | None] = ("tau_rise", "tau")
    param_map = staticmethod(filter_decays)

    @constructor_of(F.alpha_synapse_step, F.AlphaSynapseState)
    def __init__(self, tau_rise: Value = 2.0, tau: Value = 4.0, **options: Unpack[Options]) -> None: ...


class ShortTermPlasticity(StepLayer):
    """Scale spikes by the remaining resources of their synapse: it facilitates and depresses (M. Tsodyks, H. Markram).

    x are spikes, not signed currents.

        f' = exp(-1 / tau_facilitation) f[t-1],  q' = exp(-1 / tau_recovery) q[t-1]
        f[t] = f' + release (1 - f') x[t],  out[t] = f[t] (1 - q') x[t],  q[t] = q' + out[t]

    Args:
        release: share of the resources that the first spike releases, in [0, 1].
        tau_facilitation: time constant of the facilitation in steps, positive; with ``dt`` in its unit.
        tau_recovery: time constant of the resources, positive, in the same unit.
        **options: learnable, recurrent, constrain, refractory, returns and dt, as in StepLayer.
    """

    limits: Mapping[str, Any] = {"release": SHARE, "tau_facilitation": POSITIVE, "tau_recovery": POSITIVE}
    times: ClassVar[tuple[str, ...] | None] = ("tau_facilitation", "tau_recovery")
    param_map = staticmethod(decays)

    @constructor_of(F.short_term_plasticity_step, F.ShortTermPlasticityState)
    def __init__(
        self,
        release: Value = 0.2,
        tau_facilitation: Value = 50.0,
        tau_recovery: Value = 100.0,
        **options: Unpack[Options],
    ) -> None: ...
