"""The parts of a network, found by one walk through its modules."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from torch import nn

from spikingtorch.fold.guard import modules_of
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.passed_init import hooks_of


class Parts(NamedTuple):
    """The parts of a network that each call uses, valid while the network does not change."""

    net: nn.Module
    modules: list[nn.Module]  # all of them
    layers: list[StatefulLayer]  # the spiking ones
    places: dict[Any, None]  # the layers, and the hooks that pass init on to modules
    weighted: list[nn.Module]  # the modules that own parameters directly

    @classmethod
    def of(cls, net: nn.Module, modules: list[nn.Module] | None = None) -> "Parts":
        """Return the parts of the current network, whose modules may be known."""
        modules = modules_of(net) if modules is None else modules
        layers, weighted = layers_of(modules), [each for each in modules if each._parameters]
        return cls(net, modules, layers, dict.fromkeys((*layers, *hooks_of(modules))), weighted)

    def weights(self) -> list[int]:
        """Return the ids of all parameters."""
        return [id(weight) for module in self.weighted for weight in module._parameters.values()]


def layers_of(modules: Iterable[nn.Module]) -> list[StatefulLayer]:
    """Return the spiking layers among modules."""
    return [module for module in modules if isinstance(module, StatefulLayer)]


def monitors_of(layers: Sequence[StatefulLayer]) -> list[Any]:
    """Return the monitors that count the outputs of layers, each once."""
    found = [layer._cell.monitor for layer in layers if layer._cell.monitor is not None]
    return [*dict.fromkeys(found)] if found else found
