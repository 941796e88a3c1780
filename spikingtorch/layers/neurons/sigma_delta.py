"""The layer of sigma-delta neurons."""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from spikingtorch import functional as F
from spikingtorch.layers.constructor import constructor_of
from spikingtorch.layers.limits import POSITIVE, Kind
from spikingtorch.layers.options import Options, Value
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.validation import check_plain


class SigmaDelta(StepLayer):
    """Apply sigma-delta neurons to an input: they sum its changes, and send large changes of the sum's ReLU.

        v[t] = v[t-1] + x[t],  e[t] = max(v[t], 0) - sent[t-1]
        out[t] = e[t] H(|e[t]| - threshold),  sent[t] = sent[t-1] + out[t]

    Args:
        threshold: least change that is sent, positive.
        surrogate: spike function.
        **options: learnable, recurrent, constrain, refractory, returns and dt, as in StepLayer.
    """

    limits: Mapping[str, Any] = {"threshold": POSITIVE, "surrogate": Kind(check_plain)}
    times: ClassVar[tuple[str, ...] | None] = ()

    @constructor_of(F.sigma_delta_step, F.SigmaDeltaState)
    def __init__(
        self,
        threshold: Value = 0.1,
        *,
        surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
        **options: Unpack[Options],
    ) -> None: ...
