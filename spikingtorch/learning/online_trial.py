"""A network as it was before trial steps, which leave nothing behind."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.fold.guard import modules_of
from spikingtorch.functional.core.surroundings import RandomNumbers
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.spikingnet import SpikingNet
from spikingtorch.spikingnet.contents import Contents

# of a parameter, besides its value
_NOTED = ("requires_grad", "grad", "_backward_hooks", "_post_accumulate_grad_hooks")


class Before(NamedTuple):
    """A network as it was: the contents of its modules, and what puts it back."""

    contents: Contents
    put_back: Callable[[], None]


@contextmanager
def undone(model: SpikingNet, device: torch.device) -> Iterator[Before]:
    """Undo all that a block can change: what modules hold, values, gradients and hooks of tensors, random numbers.

    Monitors of the network count nothing meanwhile.
    """
    modules = modules_of(model.net)
    contents, numbers = Contents(modules, (model, ())), RandomNumbers.now(device)
    held: list[Any] = [table for module in modules for table in (module._parameters, module._buffers)]
    tensors = {each for table in held for each in table.values() if each is not None}
    noted = [(each, name, getattr(each, name, None)) for each in tensors if each.is_leaf for name in _NOTED]
    tables = [(table, {**table}) for table in (*held, *[there for *_, there in noted if isinstance(there, dict)])]
    tensors |= {there for *_, there in noted if isinstance(there, Tensor)}
    values = [(each, each.detach().clone()) for each in tensors]
    cells: list[Any] = [each._cell for each in modules if isinstance(each, StatefulLayer)]
    monitors = [cell.monitor for cell in cells]

    def put_back() -> None:
        contents.put_back([])
        for each, name, there in noted:
            if getattr(each, name, None) is not there:
                setattr(each, name, there)
        for table, entries in tables:
            table.clear()
            table.update(entries)
        with torch.no_grad():
            for each, value in values:
                if each.layout is not torch.strided or not torch.equal(each, value):
                    each.data.copy_(value)  # graphs that hold the tensor stay valid
        numbers.put_back()

    try:
        for cell in cells:
            cell.monitor = None
        yield Before(contents, put_back)
    finally:
        put_back()
        for cell, monitor in zip(cells, monitors, strict=True):
            cell.monitor = monitor
