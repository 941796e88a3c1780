"""Seat: a layer in a folded network, with everything decided but the numbers."""

from operator import is_
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikingtorch.functional.core.sharing import version_of
from spikingtorch.functional.core.torch_private import dict_version
from spikingtorch.functional.dispatch.folded import FoldedStep
from spikingtorch.functional.reparametrized import Reparametrized
from spikingtorch.layers.base import Memory, StatefulLayer
from spikingtorch.layers.frame import CHANGES, Frame
from spikingtorch.layers.recorder import SPIKES

# attributes that no parameter of a step depends on; those of nn.Module hold its tensors, hooks and submodules
_UNREAD = CHANGES | vars(nn.Module()).keys()


class Seat(NamedTuple):
    """A layer's step with its parameters, valid while each attribute that matters is the same object."""

    scan: FoldedStep
    mapped: Reparametrized  # computes the parameters; with tensors at each scan, because a tensor may be trained
    stored: dict[str, Any]  # the parameters of the layer, which the map reads
    kind: type[Any]  # class of the layer
    names: tuple[str, ...]  # the attributes that matter
    values: tuple[Any, ...]  # of the same
    size: int  # number of all attributes
    tensors: list[Any]  # parameters and buffers
    forms: list[Any]  # of the tensors
    versions: list[tuple[int, ...]]  # of the dicts of the layer when they were last compared; empty before
    scans: list[tuple[list[Any], FoldedStep]]  # the last scan, and the numbers that it was made from; empty before

    @classmethod
    def of(cls, layer: nn.Module, scan: FoldedStep, mapped: Reparametrized, stored: dict[str, Any]) -> "Seat | None":
        """Return the seat of a layer, or None if a parameter is not the one that the layer stores."""
        own = layer.__dict__
        tensors = [*own["_parameters"].values(), *own["_buffers"].values()]
        # no computed values, as of parametrizations or in another precision: their graph would be kept alive
        known = {id(tensor) for tensor in tensors if tensor is not None and tensor.is_leaf}
        if not all([id(value) in known for value in stored.values() if isinstance(value, Tensor)]):
            return None
        kept = {name: value for name, value in own.items() if name not in _UNREAD}
        attributes = type(layer), tuple(kept), tuple(kept.values()), len(own)
        return cls(scan, mapped, stored, *attributes, tensors, _forms(tensors), [], [])

    def again(self, layer: nn.Module) -> FoldedStep | None:
        """Return the scan with the current numbers of the tensors.

        Return None if anything else has changed in the layer, or in the variables that its step reads.
        """
        own = layer.__dict__
        now = dict_version(own), dict_version(own["_parameters"]), dict_version(own["_buffers"])
        if type(layer) is not self.kind or (now not in self.versions and not self._same(own)):
            return None
        self.versions[:] = [now]
        if not self.scan.known.guard.unchanged():
            return None
        if not self.tensors:
            return self.scan
        if _forms(self.tensors) != self.forms:
            return None
        # the maps of this library read nothing else. An object is equal to nothing, and zeros are, whatever their sign
        numbers = [t if t is None else t.item() if t.numel() == 1 else object() for t in self.tensors]
        for known, scan in self.scans:
            if known == numbers and 0.0 not in numbers:
                return scan
        scan = FoldedStep(self.scan.step, self.mapped.params(self.stored), self.scan.known, self.scan.floats)
        self.scans[:] = [(numbers, scan)]
        return scan

    def run(self, layer: Any, frame: Frame, x: Any, init: Any) -> Any:
        """Return the outputs of all steps in a planned call, (N T, ...); None if the layer has to look for itself."""
        fold = frame.fold
        if (init is not None and init is not fold) or id(layer) in fold.called or type(x) is not Tensor:
            return None
        if type(layer)._finish is not StatefulLayer._finish or (now := self.again(layer)) is None:
            return None
        before: Any = ()
        if fold.init is not True:
            memory = frame.memories.get(layer)
            if memory is None or not isinstance(memory.state, tuple):
                return None
            before = memory.state
        launched = now.run((x,), (fold.N, fold.T), before)
        if launched is None:
            return None
        found, (states, outs, _) = launched.found, launched.executable.ends
        given = found[states:outs]
        fold.called[id(layer)] = layer
        if any([out.requires_grad for out in given]):
            fold.saved.append((layer, x, version_of(x)))
        if frame.checked is None:
            frame.checked = x
        frame.memories[layer] = Memory(layer.state_type(*found[:states]), found[outs], (), True, frame.thread)
        return given[0] if layer._returns == SPIKES else tuple(given)

    def _same(self, own: dict[str, Any]) -> bool:
        """Return True if the attributes of the layer are the same objects, and so are its tensors."""
        tensors = [*own["_parameters"].values(), *own["_buffers"].values()]
        if len(own) != self.size or len(tensors) != len(self.tensors):
            return False
        return all(map(is_, map(own.get, self.names), self.values)) and all(map(is_, tensors, self.tensors))


def _forms(tensors: list[Any]) -> list[Any]:
    """Return the properties of tensors, besides their numbers, that decide how parameters are computed."""
    return [torch.is_grad_enabled(), *[None if t is None else (t.dtype, t.requires_grad) for t in tensors]]
