"""A network as it was before trial steps, which leave nothing behind."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from spikingtorch.fold.guard import modules_of
from spikingtorch.functional.core.surroundings import RandomNumbers
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.spikingnet import SpikingNet
from spikingtorch.spikingnet.contents import Contents

# of a parameter, besides its value
_NOTED = ("requires_grad", "grad", "_backward_hooks", "_post_accumulate_grad_hooks")


class Before:
    """All that trial steps can change: what modules hold, values, gradients and hooks of tensors, random numbers.

    Args:
        model: the network.
        device: of its inputs.
    """

    def __init__(self, model: SpikingNet, device: torch.device) -> None:
        modules = modules_of(model.net)
        self.contents = Contents(modules, (model, ()))
        self._random = RandomNumbers.now(device)
        held: list[Any] = [table for module in modules for table in (module._parameters, module._buffers)]
        tensors = {each for table in held for each in table.values() if each is not None}
        self._noted = [(each, name, getattr(each, name, None)) for each in tensors if each.is_leaf for name in _NOTED]
        hooks = [there for *_, there in self._noted if isinstance(there, dict)]
        self._held = [(table, {**table}) for table in (*held, *hooks)]
        tensors |= {there for *_, there in self._noted if isinstance(there, Tensor)}
        self._values = [(each, each.detach().clone()) for each in tensors]

    def put_back(self) -> None:
        """Put it back."""
        self.contents.put_back([])
        for each, name, there in self._noted:
            if getattr(each, name, None) is not there:
                setattr(each, name, there)
        for held, entries in self._held:
            held.clear()
            held.update(entries)
        with torch.no_grad():
            for each, value in self._values:
                if each.layout is not torch.strided or not torch.equal(each, value):
                    each.data.copy_(value)  # graphs that hold the tensor stay valid
        self._random.put_back()


@contextmanager
def undone(model: SpikingNet, device: torch.device) -> Iterator[Before]:
    """Undo what a block changes in a network; its monitors count nothing meanwhile."""
    before = Before(model, device)
    cells: list[Any] = [each._cell for each in modules_of(model.net) if isinstance(each, StatefulLayer)]
    monitors = [cell.monitor for cell in cells]
    try:
        for cell in cells:
            cell.monitor = None
        yield before
    finally:
        before.put_back()
        for cell, monitor in zip(cells, monitors, strict=True):
            cell.monitor = monitor
