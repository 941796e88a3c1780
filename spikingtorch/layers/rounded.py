"""Weights that a parametrisation rounds to a number of bits, as those of ``quantize.prepare_qat``."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import nn


class Rounded(NamedTuple):
    """A rounded weight of a module."""

    name: str  # of the weight in its module
    behind: Any  # its parametrisations, with the float weight as ``original``
    bits: int  # to which it is rounded


def rounded_in(module: nn.Module) -> Iterator[Rounded]:
    """Yield the rounded weights of a module, without those of its submodules.

    A rounded weight is one whose first parametrisation has an attribute ``bits``.
    """
    found = getattr(module, "parametrizations", None)
    lists: dict[str, Any] = dict(found.items()) if isinstance(found, nn.ModuleDict) else {}
    for name, behind in lists.items():
        bits = getattr(behind[0], "bits", None)
        if type(bits) is int and hasattr(behind, "original"):
            yield Rounded(name, behind, bits)
