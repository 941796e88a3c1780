"""The memory of kernels: what they write, and the copies that they read, all come from one function.

A test puts another one in the place of ``empty_strided``, one that lays guard values around each array.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

# (size, stride, *, dtype, device); called as an attribute of this module, so that it can be replaced
empty_strided = torch.empty_strided


def empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return contiguous memory on a device."""
    return empty_strided(shape, _strides(shape), dtype=dtype, device=device)


def like(tensor: Tensor) -> Tensor:
    """Return contiguous memory for as many numbers as a tensor has."""
    return empty(tensor.shape, tensor.dtype, tensor.device)


def contiguous(tensor: Tensor) -> Tensor:
    """Return a tensor in contiguous memory: itself, or a copy."""
    return tensor if tensor.is_contiguous() else like(tensor).copy_(tensor)


@lru_cache(maxsize=1024)
def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides of contiguous memory."""
    return tuple([math.prod([max(size, 1) for size in shape[axis + 1 :]]) for axis in range(len(shape))])
