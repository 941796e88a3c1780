"""The relevant part of a tensor, or of a number of a torch module, that may be replaced by another one."""

import types
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from torch import nn

from spikingtorch.functional.core.bytecode import reads_of
from spikingtorch.functional.core.torch_private import AnyDropout, AnyNorm

# numbers of torch's modules, and the part that decides which operations run: dropout with p = 0 or 1 draws nothing
_SETTINGS: tuple[tuple[type, str, Callable[[Any], Any]], ...] = (
    (AnyDropout, "p", lambda p: "some" if type(p) is float and 0.0 < p < 1.0 else p),
    (AnyNorm, "momentum", type),
    (AnyNorm, "eps", type),
)


@lru_cache(maxsize=256)
def attributes_read_by(kind: type) -> frozenset[str] | None:
    """Return the attributes that the forward of a torch class reads; None if they are not known."""
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
    """Return the functions that give the relevant parts of a torch module's numbers, by attribute."""
    return {name: form for base, name, form in _SETTINGS if isinstance(module, base)}
