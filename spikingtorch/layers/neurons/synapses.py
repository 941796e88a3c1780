"""Layers of synapses: filters of spikes, short-term plasticity, and delays."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.layers.limits import POSITIVE, SHARE, Limits
from spikingtorch.layers.options import Options, Value, check_arguments, constructor_of
from spikingtorch.layers.param_maps import TimeConstants, filter_decays
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.validation import check_count, check_parameter


class ExponentialSynapse(TimeConstants, StepLayer):
    """Turn spikes into currents that jump and decay.

        i[t] = exp(-1 / tau) i[t-1] + x[t]

    Args:
        tau: time constant of the current in steps, positive; with ``dt`` in its unit.
        **options: learnable, recurrent, constrain, refractory, returns and dt, as in StepLayer.
    """

    limits: Mapping[str, Any] = {"tau": POSITIVE}
    param_map = staticmethod(filter_decays)

    @constructor_of(F.exponential_synapse_step, F.ExponentialSynapseState)
    def __init__(self, tau: Value = 4.0, **options: Unpack[Options]) -> None: ...


class AlphaSynapse(TimeConstants, StepLayer):
    """Turn spikes into currents that rise with one time constant and decay with another.

        r[t] = d r[t-1] + (1 - d) x[t],  d = exp(-1 / tau_rise)
        i[t] = exp(-1 / tau) i[t-1] + r[t]

    Args:
        tau_rise: time constant of the rise in steps, positive; with ``dt`` in its unit.
        tau: time constant of the decay, positive, in the same unit.
        **options: learnable, recurrent, constrain, refractory, returns and dt, as in StepLayer.
    """

    limits: Mapping[str, Any] = {"tau_rise": POSITIVE, "tau": POSITIVE}
    param_map = staticmethod(filter_decays)

    @constructor_of(F.alpha_synapse_step, F.AlphaSynapseState)
    def __init__(self, tau_rise: Value = 2.0, tau: Value = 4.0, **options: Unpack[Options]) -> None: ...


class ShortTermPlasticity(TimeConstants, StepLayer):
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

    @constructor_of(F.short_term_plasticity_step, F.ShortTermPlasticityState)
    def __init__(
        self,
        release: Value = 0.2,
        tau_facilitation: Value = 50.0,
        tau_recovery: Value = 100.0,
        **options: Unpack[Options],
    ) -> None: ...


class Delay(StepLayer):
    """Delay inputs by some steps: per channel, per neuron, or all by the same delay.

        out[t] = sum_k max(0, 1 - |delay - k|) x[t-k]       k = 0 .. longest

    A delay between two steps interpolates between both, so that it has a gradient: ``learnable="delay"``. For groups of
    connections with different delays, use one layer per group: ``sum(linear(delay(x)))`` over the groups.

    Args:
        delay: in steps, with ``dt`` in its unit. It broadcasts to the input: (C, 1, 1) is one delay per channel of
            images.
        longest: the longest possible delay, in steps: the length of the memory, and the limit of a learnable delay. By
            default that of ``delay``, rounded up.
        **options: learnable ("delay"), constrain, returns and dt, as in StepLayer.

    >>> import torch
    >>> layer = Delay(2)
    >>> [layer(torch.tensor([x]), init=(x == 1.0)).item() for x in (1.0, 2.0, 3.0, 4.0)]
    [0.0, 0.0, 1.0, 2.0]
    """

    longest: Any
    fixed: ClassVar[tuple[str, ...]] = ("dt", "longest")
    times: ClassVar[tuple[str, ...] | None] = ("delay",)

    def __init__(self, delay: Value, longest: int | None = None, **options: Unpack[Options]) -> None:
        check_parameter("Delay", "delay", delay, least=0.0)
        dt = options.get("dt", 1.0)
        check_parameter("Delay", "dt", dt, above=0.0)
        most = float(delay.detach().max() if isinstance(delay, Tensor) else delay) / dt
        steps = max(1, math.ceil(most)) if longest is None else check_count("Delay", "longest", longest)
        object.__setattr__(self, "limits", {"delay": Limits(least=0.0, most=steps * dt)})
        super().__init__(F.delay_step, F.DelayState, delay=delay, **options)
        self._keep("longest", float(steps))
        check_arguments(type(self), F.delay_step, F.DelayState, options, self.step_params())

    def step_params(self) -> dict[str, Any]:
        """Return the delay in steps, at most the longest: in half precision, delay / dt can be rounded up beyond it."""
        params = super().step_params()
        delay = params["delay"]
        within = delay.clamp(max=self.longest) if isinstance(delay, Tensor) else min(delay, self.longest)
        return params | {"delay": within}

    def rest_state(self, x: Tensor) -> Any:
        """Return an empty delay line."""
        return F.empty_delay(int(self.longest), x)

    def _scan(self, step: Any, state: Any, xs: Any, params: dict[str, Any], dim: int) -> tuple[Any, Any]:
        if step is not F.delay_step:  # there is a recurrence around it
            return super()._scan(step, state, xs, params, dim)
        return F.delayed(state, xs, params["delay"], dim=dim)
