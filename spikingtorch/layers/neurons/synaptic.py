"""Layers of leaky neurons behind synapses: currents with one time constant or two, and conductances."""

from collections.abc import Mapping
from typing import Any, Unpack

from torch import Tensor, nn

from spikingtorch import functional as F
from spikingtorch.layers.attributes import chosen_names
from spikingtorch.layers.limits import FIRES, KINDS, POSITIVE, THRESHOLD
from spikingtorch.layers.neurons.older_names import OlderNames
from spikingtorch.layers.options import OlderOptions, Options, Value, arguments, constructor_of
from spikingtorch.layers.param_maps import Leaky
from spikingtorch.layers.steplayer import StepLayer


class CubaLIF(Leaky, StepLayer):
    """Apply current-based LIF neurons to an input: the input feeds a synaptic current, which feeds the membrane.

        i[t] = exp(-1 / tau_syn) i[t-1] + x[t],  u[t] = a v[t-1] + b i[t],  s[t] = H(u[t] - threshold)
        v[t] = reset(u[t], s[t], threshold),  a and b of tau as in LIF

    Args:
        tau_syn: time constant of the current in steps, positive; with ``dt`` in its unit.
        tau: membrane time constant in steps, positive; with ``dt`` in its unit.
        threshold: membrane at which the neuron fires.
        surrogate, reset: spike function, and what a spike does to the membrane, as in IF.
        norm_input: multiply the current by 1 - a in place of b, as in LIF.
        **options: learnable, recurrent, constrain, refractory, returns and dt, as in StepLayer.
    """

    limits: Mapping[str, Any] = {"tau_syn": POSITIVE, "tau": POSITIVE, **FIRES}

    @constructor_of(F.cuba_lif_step, F.CubaLIFState)
    def __init__(
        self,
        tau_syn: Value = 4.0,
        tau: Value = 8.0,
        threshold: Value = 1.0,
        *,
        surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
        reset: F.Reset = F.to_zero,
        norm_input: bool = False,
        **options: Unpack[Options],
    ) -> None: ...


class AlphaLIF(Leaky, StepLayer):
    """Apply LIF neurons to an input whose synaptic current rises with one time constant and decays with another.

        r[t] = d r[t-1] + (1 - d) x[t],  d = exp(-1 / tau_rise)
        i[t] = exp(-1 / tau_syn) i[t-1] + r[t],  u[t] = a v[t-1] + b i[t],  s[t] = H(u[t] - threshold)
        v[t] = reset(u[t], s[t], threshold),  a and b of tau as in LIF

    Args:
        tau_rise: time constant of the rise in steps, positive; with ``dt`` in its unit.
        tau_syn: time constant of the decay, positive, in the same unit.
        tau, threshold, surrogate, reset, norm_input, **options: as in CubaLIF.
    """

    limits: Mapping[str, Any] = {"tau_rise": POSITIVE, "tau_syn": POSITIVE, "tau": POSITIVE, **FIRES}

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
        norm_input: bool = False,
        **options: Unpack[Options],
    ) -> None: ...


class BioLIF(OlderNames):
    """Apply conductance-based LIF neurons with shunting inhibition to two inputs, one step per call.

    For each entry of the conductances xe, which excites, and xi, which inhibits,

        nu = 1 + xe + xi,  a = exp(-nudt nu), with no gradient through a
        u[t] = a v[t-1] + (xe / nu) (1 - a),  s[t] = H(u[t] - threshold),  v[t] = reset(u[t], s[t], threshold)

    Args:
        nudt: leak rate times the length of a step, positive.
        threshold: membrane at which the neuron fires, in units of the excitatory reversal potential.
        surrogate, reset: as in IF.
        track_act: sum the spikes since the last ``init`` in ``act``. ``act`` keeps its graph, so that a loss can use
            it.
        **options: learnable, recurrent, constrain, refractory, returns and dt, as in StepLayer. learnable is
            "threshold" or True; nudt cannot learn, because it enters only through a, which has no gradient.
            Older code writes BioLIF(nudt, v0, beta, track_act), as in IF.
    """

    limits: Mapping[str, Any] = {"nudt": POSITIVE, "v0": THRESHOLD, **KINDS}

    @arguments("nudt", "v0", "beta", "track_act")
    def __init__(
        self,
        nudt: Value,
        threshold: Value = 0.5,
        *older: Any,
        track_act: bool = False,
        surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
        reset: F.Reset = F.to_zero,
        **options: Unpack[OlderOptions],
    ) -> None:
        learnable = options.get("learnable", ())
        names = {"threshold"} if learnable is True else chosen_names(learnable)
        if isinstance(nudt, nn.Parameter) or "nudt" in names:
            raise ValueError("BioLIF: nudt cannot be learned: it enters through a alone, which carries no gradient")
        given: Any = {"nudt": nudt, "threshold": threshold, "surrogate": surrogate, "reset": reset}
        options["learnable"] = names
        super().__init__(F.biolif_step, F.BioLIFState, **given, **options)
        self.track_act = track_act

    def forward(self, xe: Tensor, xi: Tensor, init: bool | Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Advance one step with the excitatory and the inhibitory conductance; see ``StepLayer.forward``."""
        output: Tensor = self._advance(F.BioLIFInput(xe, xi), init)
        return output

    @property
    def act(self) -> Tensor | None:
        """Spikes summed since the last ``init``, or None if they are not tracked."""
        memory = self._shown("act")
        return memory.act if memory is not None and isinstance(memory.act, Tensor) else None
