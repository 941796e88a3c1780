"""Layers with the argument names of the older package: v0 for the threshold, beta for the slope of the surrogate."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.layers.options import Value
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.validation import check_parameter


class OlderNames(StepLayer):
    """A layer whose threshold is the attribute ``v0``, which is also called ``threshold``.

    Args:
        step, state_type: as in StepLayer.
        beta, threshold: as its subclasses document them.
        defaults: of v0 and beta in the constructor of the subclass.
        **params: v0, surrogate or None, and the other parameters of the step.
    """

    attribute_names: ClassVar[Mapping[str, str]] = {"threshold": "v0", "reset": "reset_rule"}
    times: ClassVar[tuple[str, ...] | None] = ()
    threshold: Any = property(
        lambda layer: getattr(layer, layer.attribute_names["threshold"]), doc="Membrane at which the neuron fires."
    )

    def __init__(
        self,
        step: Callable[..., tuple[Any, Any]],
        state_type: type[Any],
        *,
        beta: float,
        threshold: Value | None,
        defaults: tuple[float, float] = (1.0, 5.0),
        **params: Any,
    ) -> None:
        owner, older = type(self).__name__, self.attribute_names["threshold"]
        v0, surrogate = params[older], params["surrogate"]
        is_older = isinstance(v0, Tensor) or v0 != defaults[0]
        if is_older and threshold is not None:
            raise ValueError(
                f"{owner}: {older}={v0!r} and threshold={threshold!r} are the same parameter; give one of them"
            )
        if surrogate is None:
            check_parameter(owner, "beta", beta, above=0.0)
            params["surrogate"] = F.Sigmoid(beta)
        elif beta != defaults[1]:
            raise ValueError(
                f"{owner}: beta={beta!r} is the slope of the default surrogate, give it to {surrogate!r} instead"
            )
        params[older] = v0 if threshold is None else threshold
        of_step = {"threshold" if name == older else name: value for name, value in params.items()}
        names = {} if is_older else {older: "threshold"}  # the older name if the user gave that one
        super().__init__(step, state_type, other_names=names, **of_step)
