"""Memory with guard values on both sides, compared afterwards: what writes beside an array shows."""

import ctypes
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from spikingtorch.functional.core import allocation as fresh

PAGE, LARGEST = 2**12, 2**18
# huge, or NaN, as a number of every floating dtype: what is read from there shows in results
PATTERN = torch.tensor([0x7F, 0xFF], dtype=torch.uint8)


class Block(NamedTuple):
    """Memory of an array.

    Attributes:
        memory: the array's bytes between two guards.
        expected: what they are to be in the end, those of the array included if nothing may write on it.
        guard: how many bytes a guard has.
        writable: whether the array is a result.
    """

    memory: Tensor
    expected: Tensor
    guard: int
    writable: bool


class Guards:
    """Puts arrays between guards."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self.results = 0

    def place(self, tensor: Tensor) -> Tensor:
        """Return a copy of an input, strides included, on which nothing may write."""
        block, placed = self._block(tensor.shape, tensor.stride(), tensor.dtype)
        fill(placed, tensor)
        self._blocks.append(Block(block.memory, block.memory.clone(), block.guard, writable=False))
        return placed

    def allocated(self, layouts: Iterable[Any], device: torch.device) -> list[Tensor]:
        """Return memory for results, in place of ``allocation.allocated``."""
        assert device.type == "cpu"
        found = [self._block(*layout) for layout in layouts]
        self._blocks += [block for block, _ in found]
        self.results += len(found)
        return [placed for _, placed in found]

    def place_results(self, patch: pytest.MonkeyPatch) -> "Guards":
        """Let scans allocate their results here, and return this."""
        patch.setattr(fresh, "allocated", self.allocated)
        return self

    def check(self) -> None:
        """Assert that all guards are as they were, and all inputs."""
        for memory, expected, guard, writable in self._blocks:
            last = len(memory) - guard
            assert torch.equal(memory[:guard], expected[:guard]), "something was written before an array"
            assert torch.equal(memory[last:], expected[last:]), "something was written behind an array"
            assert writable or torch.equal(memory, expected), "something was written on an input"

    def _block(self, shape: Sequence[int], strides: Sequence[int], dtype: torch.dtype) -> tuple[Block, Tensor]:
        last = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        size = 0 if 0 in shape else (last + 1) * dtype.itemsize
        # so wide that what takes a byte for eight of them stays inside as well
        guard = -(-(PAGE + min(8 * size, LARGEST)) // 64) * 64
        memory = PATTERN.repeat(guard + size // 2 + 1)[: 2 * guard + size].clone()
        array = torch.empty(0, dtype=dtype).set_(memory.untyped_storage(), guard // dtype.itemsize, shape, strides)
        return Block(memory, memory.clone(), guard, writable=True), array


def fill(placed: Tensor, tensor: Tensor) -> None:
    """Copy a tensor into memory with its strides, where an axis may have been expanded."""
    once = tuple(slice(0, 1) if stride == 0 else slice(None) for stride in tensor.stride())
    placed[once].copy_(tensor[once])


def overrun(tensor: Tensor, by: int) -> None:
    """Write a byte behind a tensor, or before it, as no operation of torch does."""
    ctypes.memset(tensor.data_ptr() + by, 1, 1)
