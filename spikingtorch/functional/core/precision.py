"""Precision: half-precision tensors are computed in float32, and only the results of a scan are rounded."""

from contextlib import AbstractContextManager, nullcontext
from types import FunctionType
from typing import Any, TypeVar

import torch
from torch import Tensor

from spikingtorch.functional.core.torch_private import any_autocast
from spikingtorch.functional.core.tree import leaves_of, tree_map

S = TypeVar("S")

HALF = (torch.float16, torch.bfloat16)
_WITHOUT_TENSORS = frozenset((float, FunctionType))  # most parameters, and the fields of most surrogates


def lift(tree: S) -> S:
    """Return the tree with float32 in place of float16 and bfloat16 tensors, and all else unchanged.

    A membrane adds many small inputs: eight bits of mantissa lose inputs below 1/256 of its value. So every backend
    computes in float32 and rounds only the results of the scan.
    """
    if type(tree) in _WITHOUT_TENSORS or (isinstance(tree, tuple) and _WITHOUT_TENSORS.issuperset(map(type, tree))):
        return tree
    for leaf in leaves_of(tree):
        if isinstance(leaf, Tensor) and leaf.dtype in HALF:
            return tree_map(
                lambda leaf: leaf.float() if isinstance(leaf, Tensor) and leaf.dtype in HALF else leaf, tree
            )
    return tree


def lifted_dtype(tensor: Tensor) -> torch.dtype:
    """Return the dtype that a tensor is computed in."""
    return torch.float32 if tensor.dtype in HALF else tensor.dtype


def rounded(outputs: S, dtype: torch.dtype | None) -> S:
    """Return outputs that were computed in float32 in the half precision of the inputs, if this is their dtype."""
    if dtype not in HALF:
        return outputs
    return tree_map(lambda leaf: leaf.to(dtype) if leaf.dtype == torch.float32 else leaf, outputs)


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """Return the dtype of autocast on a device; None if autocast is off, or unknown as on meta."""
    if not any_autocast():
        return None
    kind = device.type
    known = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if known else None


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which autocast is off on a device; it does nothing if autocast is already off."""
    return nullcontext() if autocast_dtype(device) is None else torch.autocast(device.type, enabled=False)
