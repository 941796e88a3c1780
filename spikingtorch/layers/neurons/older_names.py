"""Layers of the older package, which calls the threshold v0."""

from collections.abc import Mapping
from typing import Any, ClassVar

from spikingtorch.layers.steplayer import StepLayer


class OlderNames(StepLayer):
    """A layer whose threshold is stored as ``v0``, by which older code and its checkpoints know it."""

    attribute_names: ClassVar[Mapping[str, str]] = {"threshold": "v0", "reset": "reset_rule"}
    times: ClassVar[tuple[str, ...] | None] = ()
    _older_name: str = "threshold"  # in messages and in the repr
    threshold: Any = property(
        lambda layer: getattr(layer, layer.attribute_names["threshold"]), doc="Membrane at which the neuron fires."
    )

    def _name(self, attribute: str) -> str:
        return self._older_name if attribute == self.attribute_names["threshold"] else super()._name(attribute)
