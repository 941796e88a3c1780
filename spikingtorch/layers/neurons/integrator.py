"""The integrate-and-fire layer."""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from spikingtorch import functional as F
from spikingtorch.layers.limits import KINDS, THRESHOLD
from spikingtorch.layers.options import OLDER_NAMES, Options, Value, firing, threshold_property
from spikingtorch.layers.steplayer import StepLayer


class IF(StepLayer):
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

    attribute_names: ClassVar[Mapping[str, str]] = OLDER_NAMES
    limits: Mapping[str, Any] = {"v0": THRESHOLD, **KINDS}
    times: ClassVar[tuple[str, ...] | None] = ()
    threshold: Any = threshold_property("v0")

    def __init__(
        self,
        v0: Value = 1.0,
        beta: float = 5.0,
        *,
        threshold: Value | None = None,
        surrogate: F.Surrogate | None = None,
        reset: F.Reset = F.to_zero,
        **options: Unpack[Options],
    ) -> None:
        neuron = firing(type(self).__name__, v0, threshold, beta, surrogate)
        super().__init__(F.if_step, F.IFState, **neuron, reset=reset, **options)
