"""Allocate the memory of kernels: their results and the copies that they read come from one function.

A test replaces ``allocated`` by a function that puts guard values around each array.
"""

import ctypes
import math
import sys
from collections.abc import Iterable
from functools import cache, lru_cache
from itertools import starmap
from typing import Any

import torch
from torch import Tensor

from spikingtorch.functional.core import freed_memory
from spikingtorch.functional.core.modes import HOST
from spikingtorch.functional.core.torch_private import empty_strided_cpu


def allocated(
    layouts: Iterable[tuple[tuple[int, ...], tuple[int, ...], torch.dtype]], device: torch.device
) -> list[Tensor]:
    """Return memory on a device for arrays of some shapes, strides and dtypes.

    It is called as an attribute of this module, so that it can be replaced.
    """
    if device.type == HOST.type:  # in half the time of torch.empty_strided
        return list(starmap(empty_strided_cpu, layouts))
    return [torch.empty_strided(shape, stride, dtype=dtype, device=device) for shape, stride, dtype in layouts]


# the bytes above which memory is large
LARGE = freed_memory.LARGE
# the size of a huge page; the bytes above which memory surely contains one; the advice to madvise to take huge pages
_HUGE, HOLDS_HUGE_PAGE, _ADVICE = 2**21, 2**22, 14


def empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return contiguous memory on a device."""
    return strided(shape, strides(shape), dtype, device)


def strided(shape: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return memory on a device, with given strides."""
    (found,) = allocated([(tuple(shape), tuple(stride), dtype)], device)
    if found.nbytes >= LARGE:
        take_note(found)
    return found


def take_note(fresh: Tensor) -> None:
    """Prepare large memory that nobody has written to: keep it once it is freed, and prefer huge pages."""
    if fresh.is_cpu:
        freed_memory.note(fresh.nbytes)
        if fresh.nbytes >= HOLDS_HUGE_PAGE:
            _prefer_huge_pages(fresh)


def _prefer_huge_pages(fresh: Tensor) -> None:
    """Ask the system to back memory by huge pages.

    Linux maps fresh memory at the first write to each page. This takes longer than the kernel's arithmetic for the
    page. One huge page replaces 512 pages. Only pages inside the tensor's memory are requested. All of it is about to
    be written, so no memory is lost. On other systems, or if the system refuses, nothing happens.
    """
    if (advise := _madvise()) is not None:
        start = fresh.data_ptr()
        first, end = -(-start // _HUGE) * _HUGE, (start + fresh.nbytes) // _HUGE * _HUGE
        if end > first:
            advise(first, end - first, _ADVICE)


@cache
def _madvise() -> Any:
    """Return the system's function, or None if there is none."""
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
