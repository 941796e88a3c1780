"""What matters of a tensor, or of a number of one of torch's modules, if another one may take its place."""

import types
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from torch import nn

from spikingtorch.functional.core.bytecode import reads_of
from spikingtorch.functional.core.torch_private import AnyDropout, AnyNorm

# numbers of torch's modules, and what decides which operations they run: a layer that drops nothing, or all, draws none
_SETTINGS: tuple[tuple[type, str, Callable[[Any], Any]], ...] = (
    (AnyDropout, "p", lambda p: "some" if type(p) is float and 0.0 < p < 1.0 else p),
    (AnyNorm, "momentum", type),
    (AnyNorm, "eps", type),
)


@lru_cache(maxsize=256)
def attributes_read_by(kind: type) -> frozenset[str] | None:
    """Return the attributes that the forward of a class of torch's reads; None where that is not known."""
    if not kind.__module__.startswith("torch.nn.modules."):
        return None
    bases = kind.__mro__[: kind.__mro__.index(nn.Module)]
    found: set[str] = set()
    ahead = {"forward", "__iter__", "__len__", "__getitem__"}
    while ahead - found:
        name = min(ahead - found)
        found.add(name)
        item = next((vars(base)[name] for base in bases if name in vars(base)), None)
        for member in (item.fget,) if isinstance(item, property) else (getattr(item, "__func__", item),):
            reads = reads_of(member.__code__) if isinstance(member, types.FunctionType) else None
            if reads is not None and reads.computes_names:
                return None
            ahead.update((*reads.attributes, *reads.texts) if reads is not None else ())
    return frozenset(found)


def settings_of(module: nn.Module) -> dict[str, Callable[[Any], Any]]:
    """Return what matters of the numbers of a module of torch's, by the names of their attributes."""
    return {name: form for base, name, form in _SETTINGS if isinstance(module, base)}
