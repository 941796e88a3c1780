"""Layers whose neurons do not rest at zero."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from spikingtorch.functional.core.precision import lift
from spikingtorch.layers.steplayer import StepLayer


def filled(like: Tensor, value: Tensor | float) -> Tensor:
    """Return a state of one value, a float or broadcastable tensor, for an input like x; it has no gradient."""
    value = value.detach() if isinstance(value, Tensor) else value
    return lift(torch.zeros_like(like, requires_grad=False)) + value


class RestingLayer(StepLayer):
    """A layer whose attributes set the start of a sequence; the start has no gradient."""

    # the attribute that holds the start value, by field of the state; None counts as zero
    starts: ClassVar[Mapping[str, str]] = {"v": "v_rest"}

    def rest_state(self, x: Tensor) -> Any:
        """Return the state at rest."""
        values = {field: getattr(self, name) for field, name in self.starts.items()}
        moved = {field: filled(x, value) for field, value in values.items() if not _is_zero(value)}
        return super().rest_state(x)._replace(**moved)

    @property
    def _rests_at_zero(self) -> bool:
        values = [getattr(self, name) for name in self.starts.values()]
        return all(map(_is_zero, values)) and self._rests_as(RestingLayer)


def _is_zero(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value == 0.0)
