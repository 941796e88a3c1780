"""Count the operations of a network, by the torch functions that it calls."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

from torch import Tensor, nn

from spikingtorch.functional.core.network_mode import NetworkMode
from spikingtorch.layers.rounded import rounded_in
from spikingtorch.watching.operations import COUNTED, NOTHING, Count


class Counting(NetworkMode):
    """Count the operations of linear layers, convolutions and average pooling.

    A layer that the network calls at several places has one count for each place. A place is the same whether the
    network is called once for all steps or once for each step, so both find the same spikes.

    Args:
        net: the network.

    Attributes:
        found: the counts by place, by the name of the module that has the weights. If the weights are not parameters,
            or belong to several modules, it is the name of the module that calls the function. None is average pooling,
            which has no weights.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.found: dict[str | None, list[Count]] = {}
        self._calls: Counter[str | None] = Counter()
        self._names = {id(module): name for name, module in net.named_modules()}
        self._owners: dict[int, list[str]] = {}
        for name, module in net.named_modules():
            for weight in module.parameters(recurse=False):
                self._owners.setdefault(id(weight), []).append(name)

    def __enter__(self) -> "Counting":
        self._calls.clear()  # SpikingNet enters it for each call of its network
        super().__enter__()
        return self

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function, and count its operations."""
        out = func(*args, **(kwargs or {}))
        self.saw(func, out, args, kwargs or {})
        return out

    def saw(self, func: Any, out: Any, args: Any, kwargs: Any) -> None:
        """Count the operations of a call."""
        counted = COUNTED.get(func)
        if counted is None:
            return
        weight, count = counted(out, *args, **kwargs)
        name = None if weight is None else self._owner_of(weight)
        counts, place = self.found.setdefault(name, []), self._calls[name]
        self._calls[name] += 1
        if place == len(counts):
            counts.append(NOTHING)
        counts[place] = counts[place].plus(count)

    def mark(self) -> dict[str | None, list[Count]]:
        """Return the counts so far."""
        return {name: [*counts] for name, counts in self.found.items()}

    def rewind(self, mark: Any) -> None:
        """Forget the counts after a mark, in a call that is repeated."""
        self.found = mark

    def _owner_of(self, weight: Tensor) -> str:
        """Return the name of the module to which a weight belongs."""
        owners, calling = self._owners.get(id(weight), []), list(self._calling())
        return next((name for name in calling if name in owners), (owners or calling or [""])[0])

    def _calling(self) -> Iterator[str]:
        """Yield the modules whose methods are on Python's stack, the innermost first."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            first = frame.f_code.co_varnames[:1]
            owner = id(frame.f_locals.get(first[0])) if first and frame.f_code.co_argcount else None
            if owner in self._names:
                yield self._names[owner]
            frame = frame.f_back


def weights_of(module: nn.Module, *, recurse: bool, seen: set[int]) -> list[Tensor]:
    """Return the parameters of a module, including those of its parametrizations, except those already seen.

    ``recurse`` includes its submodules; ``seen`` are ids of parameters, to which these are added.
    """
    behind = getattr(module, "parametrizations", None)
    parts = [module.parameters(recurse), behind.parameters() if isinstance(behind, nn.Module) else ()]
    found = {id(weight): weight for part in parts for weight in part if id(weight) not in seen}
    seen.update(found)
    return [*found.values()]


def bytes_of(module: nn.Module, weights: Iterable[Tensor], *, recurse: bool) -> int:
    """Return the bytes of some weights of a module; rounded ones take their bits, and their scales nothing."""
    bits: dict[int, int] = {}
    for part in module.modules() if recurse else (module,):
        for each in rounded_in(part):
            bits |= {id(scale): 0 for scale in each.behind.parameters()} | {id(each.behind.original): each.bits}
    sizes = [weight.numel() * bits.get(id(weight), 8 * weight.element_size()) for weight in weights]
    return sum([-(-size // 8) for size in sizes])
