"""The content of a network, everything that it can read, and the check that nothing has changed.

A decision about a network is valid while nothing has changed that its code can read. This includes the attributes of
its modules, the values inside them, and the functions of their classes. It also includes the globals and closure
variables that these functions read. ``NetworkSnapshot`` walks through all of this once, and keeps a guard that
detects changes by identity.
"""

from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from spikingtorch.fold.hooks import is_hooked_everywhere, talks
from spikingtorch.fold.walk import AttributeWalk


def modules_of(net: nn.Module) -> list[nn.Module]:
    """Return the modules of ``net.modules()`` in its order; the generator takes three times as long."""
    if torch.compiler.is_dynamo_compiling():
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


def first_parameter(modules: Iterable[nn.Module]) -> tuple[nn.Module, Tensor] | tuple[None, None]:
    """Return the first module that owns a parameter directly, and that parameter; None for both if there is none."""
    for module in modules:
        for weight in module._parameters.values():
            if weight is not None:
                return module, weight
    return None, None


def _flags(modules: list[dict[str, Any]]) -> list[Any]:
    """Return a key of all parameters: which ones exist, which are trained, and their shapes and dtypes."""
    found: list[Any] = []
    for weights in modules:
        for weight in weights.values():
            found += (None,) if weight is None else (weight.requires_grad, weight.shape, weight.dtype)
    return found


class NetworkSnapshot:
    """Everything that the code of a network can read, as it is now; the results are those of ``AttributeWalk``.

    The attributes that ``ignored`` names do not matter, nor do the values of ``free`` numbers. With ``exact``, another
    tensor of the same form is a change too, as in a network that keeps a tensor.
    """

    def __init__(
        self, net: nn.Module, ignored: Collection[str] = (), free: Collection[str] = (), *, exact: bool = False
    ) -> None:
        self.modules = modules_of(net)
        names, shared = set[str](), set[int]()
        while True:  # the functions found in a walk read more attributes
            walk = AttributeWalk(names, ignored, free, exact, shared)
            try:
                walk.through(net, self.modules)
            except Exception as error:  # an error of an attribute, or of a class, that cannot be examined
                walk.reason = f"cannot be examined ({type(error).__name__}: {error})".splitlines()[0]
            if walk.names <= names and walk.shared <= shared:
                break
            names |= walk.names
            shared |= walk.shared
        self.tells, self.numbers = walk.tells, walk.numbers
        self.reason, self.remedy, self.outside = walk.reason, walk.remedy, walk.outside
        self._marks, self._guard, self._empty = walk.marks, walk.guard, walk.empty
        self._is_lazy = any(is_lazy(weight) for weight in net.parameters())  # lazy parameters have no shape yet
        self._holders = [module._parameters for module in self.modules if module._parameters and not self._is_lazy]
        self._were = _flags(self._holders)
        self._hooked = is_hooked_everywhere()
        self.talks = talks(self.modules)  # whether they exchange something with other processes when they are called
        self._alive = walk.alive  # kept alive, so that no other object gets the same id

    def holds(self, net: nn.Module) -> bool:
        """Return True if a network is this one, unchanged, by a fast check; False also if only a new look can tell."""
        if self.modules[0] is not net or self._is_lazy or self._hooked or is_hooked_everywhere():
            return False
        if any(self._empty) or not self._guard.unchanged():
            return False
        return not self._holders or _flags(self._holders) == self._were

    def changed_since(self, before: "NetworkSnapshot") -> tuple[str, ...]:
        """Return the names of the values that have changed."""
        one, other = before._marks, self._marks
        if one == other:
            return ()
        found = {name for name in one | other if name not in one or name not in other or one[name] != other[name]}
        return tuple(sorted(name for name in found if not any(name.startswith(f"{outer}.") for outer in found)))

    def same_as(self, before: "NetworkSnapshot") -> bool:
        """Return True if a network has not changed."""
        return before._marks == self._marks
