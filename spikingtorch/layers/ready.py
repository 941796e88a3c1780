"""Ready: a layer's step with its parameters, kept from one call to the next."""

from operator import is_
from typing import Any, NamedTuple

from torch import Tensor, nn

from spikingtorch.functional.dispatch.signature import FromRest
from spikingtorch.layers.base import CHANGES


class Ready(NamedTuple):
    """What the scans of a layer from rest take, good while each attribute of the layer is the object that it was.

    Attributes:
        scan: the step with its parameters, none of which is a tensor: one may be trained, or be computed anew.
        kind: class of the layer.
        names: of the attributes, but for those that change at every call.
        values: of the same.
        size: number of all attributes.
    """

    scan: FromRest
    kind: type[Any]
    names: tuple[str, ...]
    values: tuple[Any, ...]
    size: int

    @classmethod
    def of(cls, layer: nn.Module, scan: FromRest) -> "Ready | None":
        """Return it for the scans of a layer, or None if a parameter is a tensor."""
        if any([isinstance(value, Tensor) for value in scan.params.values()]):
            return None
        own = layer.__dict__
        kept = {name: value for name, value in own.items() if name not in CHANGES}
        return cls(scan, type(layer), tuple(kept), tuple(kept.values()), len(own))

    def holds(self, layer: nn.Module) -> bool:
        """Say whether a layer is as it was, and what its step reads."""
        own = layer.__dict__
        same = type(layer) is self.kind and len(own) == self.size
        return same and all(map(is_, map(own.get, self.names), self.values)) and self.scan.unchanged()
