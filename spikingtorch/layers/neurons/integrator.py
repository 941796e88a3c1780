"""Layers of neurons without a leak: IF, McPitts without a memory, and sigma-delta neurons."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from spikingtorch import functional as F
from spikingtorch.layers.limits import KINDS, POSITIVE, THRESHOLD, Limits
from spikingtorch.layers.neurons.older_names import OlderNames
from spikingtorch.layers.options import Options, Value, constructor_of, noting
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.validation import check_plain


class IF(OlderNames):
    """Apply integrate-and-fire neurons to an input, one step per call.

    For each entry of the input, which has its own membrane v,

        u[t] = v[t-1] + x[t],  s[t] = H(u[t] - v0),  v[t] = reset(u[t], s[t], v0)

    Args:
        v0: threshold, as the older package calls it.
        beta: slope of the default surrogate, Sigmoid(beta).
        threshold: the same as v0.
        surrogate: another spike function instead of the default; its slope is a constant.
        reset: what a spike does to the membrane: ``to_zero``, ``by_subtraction``, ``none``, ``to_value(v_reset)`` or
            ``detached(...)`` of ``spikingtorch.functional``.
        **options: learnable ("threshold", "v_reset" or True for all), recurrent, constrain, refractory, returns and dt,
            as in StepLayer.

    >>> import torch
    >>> layer = IF()
    >>> [layer(torch.tensor([0.6]), init=(t == 0)).item() for t in range(4)]
    [0.0, 1.0, 0.0, 1.0]
    """

    limits: Mapping[str, Any] = {"v0": THRESHOLD, **KINDS}

    @constructor_of(F.if_step, F.IFState)
    def __init__(
        self,
        v0: Value = 1.0,
        beta: float = 5.0,
        *,
        threshold: Value | None = None,
        surrogate: F.Surrogate | None = None,
        reset: F.Reset = F.to_zero,
        **options: Unpack[Options],
    ) -> None: ...


class McPitts(OlderNames):
    """Apply binary neurons without a memory to an input.

    For each entry of the input,

        s[t] = H(x[t] - thr)

    Args:
        thr: threshold, as the older package calls it.
        threshold: the same as thr; one of them has to be given.
        beta, surrogate: as in IF.
        **options: learnable ("threshold" or True), recurrent, constrain, refractory, returns and dt, as in StepLayer.
    """

    attribute_names: ClassVar[Mapping[str, str]] = {"threshold": "thr"}
    limits: Mapping[str, Any] = {"thr": THRESHOLD, **KINDS}

    @noting
    def __init__(
        self,
        thr: Value | None = None,
        beta: float = 3.0,
        *,
        threshold: Value | None = None,
        surrogate: F.Surrogate | None = None,
        **options: Unpack[Options],
    ) -> None:
        if thr is None and threshold is None:
            raise TypeError("McPitts: the threshold is missing; write McPitts(threshold=1.0) for instance")
        given: Any = {"thr": math.inf if thr is None else thr, "beta": beta, "defaults": (math.inf, 3.0)}
        super().__init__(F.mcpitts_step, F.McPittsState, **given, threshold=threshold, surrogate=surrogate, **options)


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
        self,
        threshold: Value = 0.1,
        *,
        surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
        **options: Unpack[Options],
    ) -> None: ...
