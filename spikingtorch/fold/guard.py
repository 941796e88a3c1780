"""A quick look at a network: whether anything in its modules is another object than it was."""

from collections.abc import Iterable
from operator import is_
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from spikingtorch.fold.static_rules import HOOKS, hooks_of_all_modules
from spikingtorch.layers.base import StatefulLayer

# what cannot change without becoming another object; modules and tensors are looked at by themselves, or not at all
_NUMBERS = (bool, int, float, str, bytes, type(None), torch.dtype, torch.device, torch.Size)
_FIXED = (*_NUMBERS, Tensor, nn.Module, type, FunctionType, BuiltinFunctionType)
_OWN = set(vars(nn.Module()))


def modules_of(net: nn.Module) -> list[nn.Module]:
    """Return what ``net.modules()`` yields, in its order; generators take three times as long."""
    if torch.compiler.is_compiling():
        return list(net.modules())
    found: dict[nn.Module, None] = {}
    ahead = [net]
    while ahead:
        module = ahead.pop()
        if module not in found:
            found[module] = None
            if module._modules:
                ahead += [child for child in reversed(module._modules.values()) if child is not None]
    return list(found)


def parameter_of(modules: Iterable[nn.Module]) -> Tensor | None:
    """Return the first parameter of modules themselves, or None if they have none."""
    for module in modules:
        for weight in module._parameters.values():
            if weight is not None:
                return weight
    return None


class NetworkGuard:
    """A network whose attributes are all such that a change makes other objects of them.

    Args:
        net: the network.

    Attributes:
        is_exact: whether this is such a network; otherwise only a thorough look does.
    """

    def __init__(self, net: nn.Module) -> None:
        modules = modules_of(net)
        self.is_exact = not hooks_of_all_modules() and all([_is_plain(module, modules) for module in modules])
        self._modules = [(module, isinstance(module, StatefulLayer)) for module in modules]
        self._hooks = [vars(module).get(hooks, {}) for module in modules for hooks in HOOKS]
        self._were = self._objects()  # held, so that no other object takes the place of one

    def unchanged(self) -> bool:
        """Say whether the network is as it was."""
        if not self.is_exact or any(self._hooks) or hooks_of_all_modules():
            return False
        objects = self._objects()
        return len(objects) == len(self._were) and all(map(is_, objects, self._were))

    def _objects(self) -> list[Any]:
        found: list[Any] = []
        for module, is_layer in self._modules:
            own = module.__dict__
            found.append(type(module))
            if isinstance(module, torch.jit.ScriptModule):
                found.append(getattr(module, "training", None))  # a frozen one has none
                continue
            if is_layer:  # its other attributes change at every call, or say nothing
                found += (own["training"], own.get("forward"), *[own[hooks] for hooks in HOOKS])
            else:
                found += own
                found += own.values()
            for entries in (own["_modules"], own["_buffers"]):
                found += entries
                found += entries.values()
        return found


def _is_plain(module: nn.Module, modules: list[nn.Module]) -> bool:
    own = vars(module)
    if any([own.get(hooks) for hooks in HOOKS]):
        return False
    # of torch's modules, what lies deeper says nothing
    if isinstance(module, StatefulLayer) or type(module).__module__.startswith("torch."):
        return True
    return all([_is_fixed(value, modules) for name, value in own.items() if name not in _OWN])


def _is_fixed(value: Any, modules: list[nn.Module]) -> bool:
    if isinstance(value, tuple):
        return all([_is_fixed(each, modules) for each in value])
    if isinstance(value, nn.Module):
        return any([value is module for module in modules])
    return isinstance(value, _FIXED)
