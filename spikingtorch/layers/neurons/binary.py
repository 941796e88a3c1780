"""The layer of binary neurons."""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from spikingtorch import functional as F
from spikingtorch.layers.limits import KINDS, THRESHOLD
from spikingtorch.layers.options import Options, Value, firing, threshold_property
from spikingtorch.layers.steplayer import StepLayer

_MISSING = float("inf")


class McPitts(StepLayer):
    """Apply binary neurons without a memory to an input.

    For each entry of the input,

        s[t] = H(x[t] - thr)

    Args:
        thr: threshold, as the older package calls it.
        beta: slope of the default surrogate, Sigmoid(beta).
        threshold: the same as thr; one of them has to be given.
        surrogate: another spike function in its place.
        **options: learnable ("threshold" or True), recurrent, constrain, refractory, returns and dt, as in StepLayer.
    """

    attribute_names: ClassVar[Mapping[str, str]] = {"threshold": "thr"}
    limits: Mapping[str, Any] = {"thr": THRESHOLD, **KINDS}
    times: ClassVar[tuple[str, ...] | None] = ()
    threshold: Any = threshold_property("thr")

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
        given = _MISSING if thr is None else thr
        neuron = firing(type(self).__name__, given, threshold, beta, surrogate, "thr", (_MISSING, 3.0))
        super().__init__(F.mcpitts_step, F.McPittsState, **neuron, **options)
