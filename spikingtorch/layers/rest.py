"""Layers whose neurons do not rest at zero."""

from typing import Any

import torch
from torch import Tensor

from spikingtorch.functional.core.precision import lift
from spikingtorch.layers.steplayer import StepLayer


def filled(like: Tensor, value: Tensor | float) -> Tensor:
    """Return a state of one value, float or broadcastable, for an input like this."""
    value = value.detach() if isinstance(value, Tensor) else value
    return lift(torch.zeros_like(like, requires_grad=False)) + value


class RestingLayer(StepLayer):
    """A layer whose membrane rests at ``v_rest``, where a sequence starts."""

    v_rest: Any

    def rest_state(self, x: Tensor) -> Any:
        """Return the state at rest."""
        rest = super().rest_state(x)
        return rest._replace(v=filled(x, self.v_rest))

    @property
    def _rests_at_zero(self) -> bool:
        own = type(self).rest_state is RestingLayer.rest_state and type(self).initial_state is StepLayer.initial_state
        at_zero = isinstance(self.v_rest, float) and self.v_rest == 0.0 and self.refractory is None
        return own and at_zero and not {"rest_state", "initial_state"} & self.__dict__.keys()
