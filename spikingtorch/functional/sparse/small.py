"""Calls of a network in which every layer is too small for skipping zeros: remembered, so that nobody looks again.

To look at a layer takes some 30 microseconds, which small layers take themselves. What decides about them is shapes
alone, and these are the same in each call of a form if what the network does depends on no number of its input.
"""

from collections.abc import Hashable
from typing import Any, Protocol

import torch

from spikingtorch.functional.core.modes import HOST
from spikingtorch.functional.sparse.crossover import has_few_channels, has_few_outputs, most_events, most_sampled
from spikingtorch.functional.sparse.layers import Layer

# forms of calls that are remembered
_KEPT = 64


class Idler(Protocol):
    """What looks at the layers of a call, unless it is idle.

    Attributes:
        notes: how each layer was computed.
        gains: whether kernels may take part in a layer that was called, for some numbers.
        is_idle: whether it stands aside.
    """

    notes: dict[int, Any]
    gains: bool
    is_idle: bool


class SmallCall:
    """A context for one call, within which a mode stands aside if all layers are known to be too small.

    Args:
        mode: what looks at the layers.
        small: how layers were computed in calls in which all were too small, by their form; this one may be added.
        form: all that the shapes of the layers' inputs depend on.
    """

    def __init__(self, mode: Idler, small: dict[Hashable, dict[int, Any]], form: Hashable) -> None:
        self._mode, self._small, self._form = mode, small, form

    def __enter__(self) -> None:
        notes = self._small.get(self._form)
        self._mode.gains, self._mode.is_idle = False, notes is not None
        self._mode.notes.update(notes or {})

    def __exit__(self, *error: object) -> None:
        mode, small = self._mode, self._small
        if error[0] is None and not mode.gains and not mode.is_idle:
            if len(small) >= _KEPT:
                small.clear()
            small[self._form] = dict(mode.notes)
        mode.is_idle = False


def may_gain(layer: Layer) -> bool:
    """Say whether kernels may take part in a layer, for some numbers and outside of checkpoints and the like."""
    if layer.weight.dtype != torch.float32 or layer.weight.device != HOST:
        return False
    if layer.operation.misfit(layer.x, layer.weight) is not None:
        return False
    shape = layer.operation.shape(layer.x.shape, layer.weight.shape)
    of_input = layer.of_input and (most_sampled(shape) > 0 or has_few_channels(shape))
    return most_events(shape) > 0 or of_input or (layer.of_weight and has_few_outputs(shape))
