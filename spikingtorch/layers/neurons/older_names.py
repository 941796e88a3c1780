"""Layers with the argument names of the older package: v0 for the threshold, beta for the slope of the surrogate."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from torch import Tensor

from spikingtorch.layers.options import Value, surrogate_of, threshold_of
from spikingtorch.layers.steplayer import StepLayer


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
        is_older = isinstance(params[older], Tensor) or params[older] != defaults[0]
        params[older] = threshold_of(owner, older, params[older], threshold, defaults[0])
        params["surrogate"] = surrogate_of(owner, beta, params["surrogate"], defaults[1])
        of_step = {"threshold" if name == older else name: value for name, value in params.items()}
        names = {} if is_older else {older: "threshold"}  # the older name if the user gave that one
        super().__init__(step, state_type, other_names=names, **of_step)
