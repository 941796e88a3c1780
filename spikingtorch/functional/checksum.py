"""A number that tells the contents of a tensor from others, with the place of each number in it."""

import ctypes
from functools import lru_cache
from importlib import resources
from typing import Any

import torch
from torch import Tensor

from spikingtorch.functional.core.torch_private import part_of
from spikingtorch.functional.fused.build.cache import library
from spikingtorch.functional.fused.build.compiler import CompileError, NoCompiler

# numbers of which the formula of torch makes one number at a time
_BLOCK = 1 << 16
_WORDS = {1: torch.int8, 2: torch.int16}


def checksum(tensor: Tensor) -> int:
    """Return a number that changes, almost surely, if a bit of a tensor changes or its numbers change places.

    A C function computes it on the CPU (see ``checksum.h``). On other devices, and without a compiler, it is

        sum over i of  w[i] (b[i] xor (b[i] >> 16))  modulo 2^32

    for each block of words b of 32 bits, with random odd weights w. The shift brings the exponents of floats down to
    where a product spreads them.
    """
    part = part_of(tensor).detach()
    if part.is_meta:
        return 0
    if part.is_cpu and (function := _function()) is not None:
        part = part if part.is_contiguous() else part.contiguous()
        found = function(part.data_ptr(), part.numel() * part.itemsize, torch.get_num_threads())
        return hash((found, tensor.shape, tensor.dtype))
    part = torch.view_as_real(part) if part.is_complex() else part
    with torch.no_grad():
        words = part.reshape(-1).view(_WORDS.get(part.itemsize, torch.int32)).to(torch.int32)
        weights = _weights(words.device)
        sums = [((block ^ (block >> 16)) * weights[: len(block)]).sum() for block in words.split(_BLOCK)]
        return hash((tensor.shape, tensor.dtype, *torch.stack(sums).tolist())) if len(words) else 0


@lru_cache(maxsize=8)
def _weights(device: torch.device) -> Tensor:
    numbers = torch.Generator().manual_seed(94)
    return torch.randint(-(2**31), 2**31, (_BLOCK,), generator=numbers, dtype=torch.int32).bitwise_or_(1).to(device)


@lru_cache(maxsize=1)
def _function() -> Any:
    """Return the C function, or None without a compiler."""
    source = (resources.files("spikingtorch.functional.fused.build") / "checksum.h").read_text()
    try:
        found = library(source).checksum
    except (NoCompiler, CompileError):
        return None
    found.argtypes, found.restype = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64), ctypes.c_uint64
    return found
