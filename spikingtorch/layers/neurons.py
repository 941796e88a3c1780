"""Spiking layers: the parameters of a neuron, and one call into ``spikingtorch.functional``.

Each is called as ``layer(x, init)``: x of shape (N, ...), and spikes of the same shape and dtype come back, 0 or 1.
Parameters are floats, or tensors that broadcast to the input: shape (C, 1, 1) is one value per channel of images
(N, C, H, W), shape (M,) one per neuron of (N, M). ``learnable`` names those to train. Time is in steps, and H(0) = 1 in
the equations.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from spikingtorch import functional as F
from spikingtorch.layers.limits import DIVISOR, KINDS, POSITIVE, SHARE, THRESHOLD
from spikingtorch.layers.options import Learnable, Value, decay_and_gain, decay_and_gains, firing, surrogate_of
from spikingtorch.layers.recurrent import Weights
from spikingtorch.layers.steplayer import StepLayer, chosen_names

_NAMES = {"threshold": "v0", "reset": "reset_rule"}


class IF(StepLayer):
    """Apply integrate-and-fire neurons to an input, one step of time a call.

    For each entry of the input, with a membrane v of its own,

        u[t] = v[t-1] + x[t],  s[t] = H(u[t] - v0),  v[t] = reset(u[t], s[t], v0)

    Args:
        v0: threshold.
        beta: slope of the default surrogate, Sigmoid(beta).
        surrogate: another spike function in its place; its slope is a constant.
        reset: what a spike does to the membrane: ``to_zero``, ``by_subtraction``, ``none`` or ``detached(...)`` of
            ``spikingtorch.functional``.
        learnable: names of parameters to train, or True for all: "v0".
        recurrent: weights through which the spikes come back one step later, as in StepLayer.
        constrain: keep a v0 that learns above zero; False lets it take any value.

    >>> import torch
    >>> layer = IF()
    >>> [layer(torch.tensor([0.6]), init=(t == 0)).item() for t in range(4)]
    [0.0, 1.0, 0.0, 1.0]
    """

    attribute_names: ClassVar[Mapping[str, str]] = _NAMES
    limits: ClassVar[Mapping[str, Any]] = {"v0": THRESHOLD, **KINDS}

    def __init__(
        self,
        v0: Value = 1.0,
        beta: float = 5.0,
        *,
        surrogate: F.Surrogate | None = None,
        reset: F.Reset = F.to_zero,
        learnable: Learnable = (),
        recurrent: Weights | None = None,
        constrain: bool = True,
    ) -> None:
        neuron = firing("IF", v0, beta, surrogate, reset)
        super().__init__(F.if_step, F.IFState, learnable=learnable, recurrent=recurrent, constrain=constrain, **neuron)


class LIF(StepLayer):
    """Apply leaky integrate-and-fire neurons to an input, one step of time a call.

    For each entry of the input, with a membrane v of its own,

        u[t] = a v[t-1] + b x[t],  s[t] = H(u[t] - v0),  v[t] = reset(u[t], s[t], v0)
        a = exp(-1 / tau), b = tau (1 - a);  with ``decay``: a = decay, b = 1

    Args:
        tau: membrane time constant in steps, positive; not used with ``decay``.
        v0: threshold.
        beta: slope of the default surrogate, Sigmoid(beta).
        decay: share of the membrane kept over a step, in [0, 1], in place of tau.
        surrogate: another spike function in place of the default.
        reset: what a spike does to the membrane, as in IF.
        learnable: names of parameters to train, or True for all: "tau" or "decay", "v0".
        recurrent: weights through which the spikes come back one step later, as in StepLayer.
        constrain: keep what learns within its limits: tau and v0 above zero, decay in [0, 1]. False lets it go.

    >>> import torch
    >>> LIF(tau=torch.full((4, 1, 1), 8.0), learnable="tau")
    LIF(tau=<4x1x1> (learnable), v0=1.0, surrogate=Sigmoid(beta=5.0), reset_rule=to_zero)
    """

    attribute_names: ClassVar[Mapping[str, str]] = _NAMES
    limits: ClassVar[Mapping[str, Any]] = {"tau": POSITIVE, "decay": SHARE, "v0": THRESHOLD, **KINDS}

    def __init__(
        self,
        tau: Value = 8.0,
        v0: Value = 1.0,
        beta: float = 5.0,
        decay: Value | None = None,
        *,
        surrogate: F.Surrogate | None = None,
        reset: F.Reset = F.to_zero,
        learnable: Learnable = (),
        recurrent: Weights | None = None,
        constrain: bool = True,
    ) -> None:
        kept = {"tau": tau} if decay is None else {"decay": decay}
        neuron = firing("LIF", v0, beta, surrogate, reset)
        super().__init__(
            F.lif_step, F.LIFState, learnable=learnable, recurrent=recurrent, constrain=constrain, **kept, **neuron
        )

    param_map = staticmethod(decay_and_gain)


class LI(StepLayer):
    """Apply leaky integrators to an input, one step of time a call: a readout whose output is its membrane.

    For each entry of the input,

        v[t] = a v[t-1] + b x[t],  a and b as in LIF

    Args:
        tau: membrane time constant in steps, positive; not used with ``decay``.
        decay: share of the membrane kept over a step, in [0, 1], in place of tau.
        learnable: names of parameters to train, or True for all: "tau" or "decay".
        recurrent: weights through which the spikes come back one step later, as in StepLayer.
        constrain: keep what learns within its limits: tau above zero, decay in [0, 1]. False lets it go.

    >>> import torch
    >>> LI(decay=0.5)(torch.ones(1))
    tensor([1.])
    """

    limits: ClassVar[Mapping[str, Any]] = {"tau": POSITIVE, "decay": SHARE}

    def __init__(
        self,
        tau: Value = 8.0,
        decay: Value | None = None,
        *,
        learnable: Learnable = (),
        recurrent: Weights | None = None,
        constrain: bool = True,
    ) -> None:
        kept = {"tau": tau} if decay is None else {"decay": decay}
        super().__init__(F.li_step, F.LIState, learnable=learnable, recurrent=recurrent, constrain=constrain, **kept)

    param_map = staticmethod(decay_and_gain)


class CoarseLIF(StepLayer):
    """Apply LIF neurons to an input, on a time step as coarse as their refractory time.

    For each entry of the input; in the step after a spike it integrates less,

        u[t] = a v[t-1] + ((1 - s[t-1]) b + s[t-1] c) x[t],  s[t] = H(u[t] - v0),  v[t] = (1 - s[t]) u[t]
        a = exp(-1 / tau), b = tau (1 - a), c = tau (1 - b)

    Args:
        tau: membrane time constant in steps, positive.
        v0: threshold.
        beta: slope of the default surrogate, Sigmoid(beta).
        surrogate: another spike function in its place.
        learnable: names of parameters to train, or True for all: "tau", "v0".
        recurrent: weights through which the spikes come back one step later, as in StepLayer.
        constrain: keep what learns above zero; False lets it take any value.
    """

    attribute_names: ClassVar[Mapping[str, str]] = _NAMES
    limits: ClassVar[Mapping[str, Any]] = {"tau": POSITIVE, "v0": THRESHOLD, **KINDS}

    def __init__(
        self,
        tau: Value,
        v0: Value = 1.0,
        beta: float = 5.0,
        *,
        surrogate: F.Surrogate | None = None,
        learnable: Learnable = (),
        recurrent: Weights | None = None,
        constrain: bool = True,
    ) -> None:
        neuron = {"threshold": v0, "surrogate": surrogate_of("CoarseLIF", beta, surrogate)}
        super().__init__(
            F.coarse_lif_step,
            F.CoarseLIFState,
            learnable=learnable,
            recurrent=recurrent,
            constrain=constrain,
            tau=tau,
            **neuron,
        )

    param_map = staticmethod(decay_and_gains)


class SpikingDecay(StepLayer):
    """Apply neurons whose membrane is divided by tau to an input, one step of time a call.

    For each entry of the input,

        u[t] = v[t-1] / tau + x[t],  s[t] = H(u[t] - v0),  v[t] = reset(u[t], s[t], v0)

    Args:
        tau: divisor of the membrane, positive.
        v0: threshold.
        beta: slope of the default surrogate, Sigmoid(beta).
        surrogate: another spike function in its place.
        reset: what a spike does to the membrane, as in IF.
        learnable: names of parameters to train, or True for all: "tau", "v0".
        recurrent: weights through which the spikes come back one step later, as in StepLayer.
        constrain: keep a tau that learns at 1 or above, where the membrane decays, and v0 above zero. False lets
                them go.
    """

    attribute_names: ClassVar[Mapping[str, str]] = _NAMES
    limits: ClassVar[Mapping[str, Any]] = {"tau": DIVISOR, "v0": THRESHOLD, **KINDS}

    def __init__(
        self,
        tau: Value,
        v0: Value = 1.0,
        beta: float = 5.0,
        *,
        surrogate: F.Surrogate | None = None,
        reset: F.Reset = F.to_zero,
        learnable: Learnable = (),
        recurrent: Weights | None = None,
        constrain: bool = True,
    ) -> None:
        neuron = firing("SpikingDecay", v0, beta, surrogate, reset)
        super().__init__(
            F.spiking_decay_step,
            F.SpikingDecayState,
            learnable=learnable,
            recurrent=recurrent,
            constrain=constrain,
            tau=tau,
            **neuron,
        )


class McPitts(StepLayer):
    """Apply binary neurons without a memory to an input.

    For each entry of the input,

        s[t] = H(x[t] - thr)

    Args:
        thr: threshold.
        beta: slope of the default surrogate, Sigmoid(beta).
        surrogate: another spike function in its place.
        learnable: names of parameters to train, or True for all: "thr".
        recurrent: weights through which the spikes come back one step later, as in StepLayer.
        constrain: keep a thr that learns above zero; False lets it take any value.
    """

    attribute_names: ClassVar[Mapping[str, str]] = {"threshold": "thr"}
    limits: ClassVar[Mapping[str, Any]] = {"thr": THRESHOLD, **KINDS}

    def __init__(
        self,
        thr: Value,
        beta: float = 3.0,
        *,
        surrogate: F.Surrogate | None = None,
        learnable: Learnable = (),
        recurrent: Weights | None = None,
        constrain: bool = True,
    ) -> None:
        neuron = {"threshold": thr, "surrogate": surrogate_of("McPitts", beta, surrogate, default=3.0)}
        super().__init__(
            F.mcpitts_step, F.McPittsState, learnable=learnable, recurrent=recurrent, constrain=constrain, **neuron
        )


class BioLIF(StepLayer):
    """Apply conductance-based LIF neurons with shunting inhibition to two inputs, one step of time a call.

    For each entry of the conductances xe, which excites, and xi, which inhibits,

        nu = 1 + xe + xi,  a = exp(-nudt nu), with no gradient through a
        u[t] = a v[t-1] + (xe / nu) (1 - a),  s[t] = H(u[t] - v0),  v[t] = reset(u[t], s[t], v0)

    Args:
        nudt: leak rate times the length of a step, positive.
        v0: threshold, in units of the excitatory reversal potential.
        beta: slope of the default surrogate, Sigmoid(beta).
        track_act: sum the spikes since the last ``init`` in ``act``. It keeps its graph, so that it can enter a loss.
        surrogate: another spike function in place of the default.
        reset: what a spike does to the membrane, as in IF.
        learnable: "v0" or True to train the threshold. No gradient reaches nudt, which enters through a alone.
        recurrent: weights through which the spikes come back one step later, as in StepLayer.
        constrain: keep a v0 that learns above zero; False lets it take any value.
    """

    attribute_names: ClassVar[Mapping[str, str]] = _NAMES
    limits: ClassVar[Mapping[str, Any]] = {"nudt": POSITIVE, "v0": THRESHOLD, **KINDS}

    def __init__(
        self,
        nudt: Value,
        v0: Value = 0.5,
        beta: float = 5.0,
        track_act: bool = False,
        *,
        surrogate: F.Surrogate | None = None,
        reset: F.Reset = F.to_zero,
        learnable: Learnable = (),
        recurrent: Weights | None = None,
        constrain: bool = True,
    ) -> None:
        names = {"v0"} if learnable is True else chosen_names(learnable)
        if isinstance(nudt, nn.Parameter) or "nudt" in names:
            raise ValueError("BioLIF: nudt cannot be learned: it enters through a alone, which carries no gradient")
        neuron = firing("BioLIF", v0, beta, surrogate, reset)
        super().__init__(
            F.biolif_step, F.BioLIFState, learnable=names, recurrent=recurrent, constrain=constrain, nudt=nudt, **neuron
        )
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


SpikingLayer = CoarseLIF  # the older package's other name for it
