"""Layers of neurons without a leak: IF, McPitts without a memory, and sigma-delta neurons."""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from spikingtorch import functional as F
from spikingtorch.layers.limits import KINDS, POSITIVE, THRESHOLD, Limits
from spikingtorch.layers.neurons.older_names import OlderNames
from spikingtorch.layers.options import OlderOptions, Options, Value, constructor_of
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.validation import check_plain


class IF(OlderNames):
    """Apply integrate-and-fire neurons to an input, one step per call.

    For each entry of the input, which has its own membrane v,

        u[t] = v[t-1] + x[t],  s[t] = H(u[t] - threshold),  v[t] = reset(u[t], s[t], threshold)

    Args:
        threshold: membrane at which the neuron fires.
        surrogate: spike function; its slope is a constant.
        reset: what a spike does to the membrane: ``to_zero``, ``by_subtraction``, ``none``, ``to_value(v_reset)`` or
            ``detached(...)`` of ``spikingtorch.functional``.
        **options: learnable ("threshold", "v_reset" or True for all), recurrent, constrain, refractory, returns and dt,
            as in StepLayer. Older code writes IF(v0, beta), with the slope of Sigmoid(beta).

    >>> import torch
    >>> layer = IF()
    >>> [layer(torch.tensor([0.6]), init=(t == 0)).item() for t in range(4)]
    [0.0, 1.0, 0.0, 1.0]
    """

    limits: Mapping[str, Any] = {"v0": THRESHOLD, **KINDS}

    @constructor_of(F.if_step, F.IFState, older=("v0", "beta"))
    def __init__(
        self,
        threshold: Value = 1.0,
        *older: Any,
        surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
        reset: F.Reset = F.to_zero,
        **options: Unpack[OlderOptions],
    ) -> None: ...


class McPitts(OlderNames):
    """Apply binary neurons without a memory to an input.

    For each entry of the input,

        s[t] = H(x[t] - threshold)

    Args:
        threshold: input at which the neuron fires.
        surrogate: as in IF.
        **options: learnable ("threshold" or True), recurrent, constrain, refractory, returns and dt, as in StepLayer.
            Older code writes McPitts(thr, beta), as in IF.
    """

    attribute_names: ClassVar[Mapping[str, str]] = {"threshold": "thr"}
    limits: Mapping[str, Any] = {"thr": THRESHOLD, **KINDS}

    @constructor_of(F.mcpitts_step, F.McPittsState, older=("thr", "beta"), slope=3.0)
    def __init__(
        self,
        threshold: Value,
        *older: Any,
        surrogate: F.Surrogate = F.Sigmoid(beta=3.0),
        **options: Unpack[OlderOptions],
    ) -> None: ...


class SigmaDelta(StepLayer):
    """Apply sigma-delta neurons to an input: they sum its changes, and send large changes of the sum's ReLU.

        v[t] = v[t-1] + x[t],  e[t] = max(v[t], 0) - sent[t-1]
        out[t] = e[t] H(|e[t]| - threshold),  sent[t] = sent[t-1] + out[t]

    Args:
        threshold: least change that is sent, positive.
        surrogate: spike function.
        **options: learnable, recurrent, constrain, refractory, returns and dt, as in StepLayer.
    """

    limits: Mapping[str, Any] = {"threshold": POSITIVE, "surrogate": Limits(test=check_plain)}
    times: ClassVar[tuple[str, ...] | None] = ()

    @constructor_of(F.sigma_delta_step, F.SigmaDeltaState)
    def __init__(
        self, threshold: Value = 0.1, *, surrogate: F.Surrogate = F.Sigmoid(beta=5.0), **options: Unpack[Options]
    ) -> None: ...
