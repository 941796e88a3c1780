"""The memory of kernels: what they write, and the copies that they read, all come from one function.

A test puts another one in the place of ``empty_strided``, one that lays guard values around each array.
"""

import ctypes
import math
import sys
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor

from spikingtorch.functional.core import freed_memory

# (size, stride, *, dtype, device); called as an attribute of this module, so that it can be replaced
empty_strided = torch.empty_strided


# the bytes from which memory is large
LARGE = freed_memory.LARGE
# a huge page, and the bytes from which memory surely holds one; the advice of madvise to take them
_HUGE, HOLDS_HUGE_PAGE, _ADVICE = 2**21, 2**22, 14


def empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return contiguous memory on a device."""
    return strided(shape, strides(shape), dtype, device)


def strided(shape: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return memory on a device, in an order of its own."""
    found = empty_strided(shape, stride, dtype=dtype, device=device)
    if found.nbytes >= LARGE:
        take_note(found)
    return found


def take_note(fresh: Tensor) -> None:
    """Take note of large memory that nobody has written on: keep it once it is freed, and prefer huge pages."""
    if fresh.is_cpu:
        freed_memory.note(fresh.nbytes)
        if fresh.nbytes >= HOLDS_HUGE_PAGE:
            _prefer_huge_pages(fresh)


def _prefer_huge_pages(fresh: Tensor) -> None:
    """Ask the system to back memory by huge pages.

    Linux maps fresh memory at the first write to each page, which takes longer than what a kernel computes for it. One
    huge page takes the place of 512. Only those that lie within the tensor's memory are asked for, and all of it is
    about to be written, so that no memory is lost. Elsewhere, and where the system refuses, nothing happens.
    """
    if (advise := _madvise()) is not None:
        start = fresh.data_ptr()
        first, end = -(-start // _HUGE) * _HUGE, (start + fresh.nbytes) // _HUGE * _HUGE
        if end > first:
            advise(first, end - first, _ADVICE)


@cache
def _madvise() -> Any:
    """Return the system's function, None where there is none."""
    if sys.platform != "linux":
        return None
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return advise


def like(tensor: Tensor) -> Tensor:
    """Return contiguous memory for as many numbers as a tensor has."""
    return empty(tensor.shape, tensor.dtype, tensor.device)


def contiguous(tensor: Tensor) -> Tensor:
    """Return a tensor in contiguous memory: itself, or a copy."""
    return tensor if tensor.is_contiguous() else like(tensor).copy_(tensor)


@lru_cache(maxsize=1024)
def strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides of contiguous memory."""
    return tuple([math.prod([max(size, 1) for size in shape[axis + 1 :]]) for axis in range(len(shape))])
