"""What takes part in a call of a SpikingNet."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from spikingtorch.fold.guard import modules_of
from spikingtorch.functional.core.modes import in_eager
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.passed_init import InitHook, hooks_of


class Parts(NamedTuple):
    """What takes part in a call.

    Attributes:
        net: the network.
        modules: all of its modules.
        layers: the spiking layers among them.
        hooks: those that pass init on to modules.
        monitors: what counts the outputs of layers.
        compiles: whether torch.compile or torch.export looks on.
        eager: whether nothing traces, compiles or transforms the call.
    """

    net: nn.Module
    modules: list[nn.Module]
    layers: list[StatefulLayer]
    hooks: list[InitHook]
    monitors: list[Any]
    compiles: bool
    eager: bool

    @classmethod
    def of(cls, net: nn.Module) -> "Parts":
        """Return what takes part in a call of a network as it is now."""
        modules, compiles = modules_of(net), torch.compiler.is_compiling()
        layers = layers_of(modules)
        monitors = [] if compiles else _monitors_of(layers)
        return cls(net, modules, layers, hooks_of(modules), monitors, compiles, not compiles and in_eager())

    def weights(self) -> list[int]:
        """Return the identities of all parameters."""
        return [id(weight) for module in self.modules for weight in module._parameters.values()]


def layers_of(modules: Sequence[nn.Module]) -> list[StatefulLayer]:
    """Return the spiking layers among modules."""
    return [module for module in modules if isinstance(module, StatefulLayer)]


def _monitors_of(layers: Sequence[StatefulLayer]) -> list[Any]:
    """Return the monitors that count what layers give out, each once."""
    found = [layer._monitor for layer in layers if layer._monitor is not None]
    return [*dict.fromkeys(found)] if found else found
