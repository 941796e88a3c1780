"""The layout of a scan's arrays in memory: (batch..., time, neurons) with strides, to avoid copies."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core import memory
from spikingtorch.functional.core.shapes import with_time
from spikingtorch.functional.fused.codegen.abi import AXES
from spikingtorch.functional.fused.runtime.target import Target


class Layout(NamedTuple):
    """The axes of a scan."""

    shape: tuple[int, ...]  # of the neurons of one step
    steps: int  # T
    dim: int  # axis of time in the streams
    # the first axis of the shape from which on all axes are one run of memory; the axes before it have strides
    split: int
    device: torch.device  # where the arrays are

    @property
    def neuron_steps(self) -> int:
        """The number of neurons times the number of steps."""
        return math.prod(self.shape) * self.steps

    def stream(self, dtype: torch.dtype, steps: int | None = None) -> Tensor:
        """Return new memory over time."""
        shape = with_time(self.shape, self.dim, self.steps if steps is None else steps)
        return memory.empty(shape, dtype, self.device)

    def one_step(self, dtype: torch.dtype) -> Tensor:
        """Return new memory without time."""
        return memory.empty(self.shape, dtype, self.device)

    def over_time(self, stream: Tensor) -> list[int]:
        """Return the record of an array over time, as the kernel reads it."""
        strides = list(stream.stride())
        step = strides.pop(self.dim)
        sizes = [size for axis, size in enumerate(stream.shape) if axis != self.dim]
        return [stream.data_ptr(), step, 1, *self._batch(sizes, strides)]

    def static(self, tensor: Tensor) -> list[int]:
        """Return the record of an array without time that ``placed`` has returned."""
        sizes, strides = self._with_all_axes(tensor)
        neuron = 0 if _is_number(sizes[self.split :], strides[self.split :]) else 1
        return [tensor.data_ptr(), 0, neuron, *self._batch(sizes, strides)]

    def placed(self, tensor: Tensor, *, shared: bool = True) -> Tensor:
        """Return an array without time as the kernel reads it: itself, or a copy with a value for each neuron.

        Args:
            tensor: the array.
            shared: whether neurons may share a value in memory.
        """
        sizes, strides = self._with_all_axes(tensor)
        one = shared and _is_number(sizes[self.split :], strides[self.split :])
        if one or _is_run(sizes, strides, self.shape, self.split):
            return tensor
        whole = tensor.reshape(sizes).expand(*sizes[: self.split], *self.shape[self.split :])
        return memory.contiguous(whole)

    def _with_all_axes(self, tensor: Tensor) -> tuple[list[int], list[int]]:
        missing = len(self.shape) - tensor.ndim
        return [1] * missing + list(tensor.shape), [0] * missing + list(tensor.stride())

    def header(self) -> list[int]:
        """Return the fields of a kernel's Layout before its arrays; the first is for the target to fill in."""
        sizes, row = self.shape[: self.split], self.shape[self.split :]
        numbers = self.steps, math.prod(row), math.prod(sizes), len(sizes)
        return [0, *numbers, *sizes, *(0,) * (AXES - len(sizes))]

    def _batch(self, sizes: Sequence[int], strides: Sequence[int]) -> list[int]:
        walked = [stride if size > 1 else 0 for size, stride in zip(sizes, strides, strict=True)][: self.split]
        return walked + [0] * (AXES - len(walked))


def arrange(target: Target, shape: tuple[int, ...], streams: Sequence[Tensor], dim: int) -> tuple[Layout, list[Tensor]]:
    """Return the layout of a scan, and its streams in it; streams whose memory is too scattered are copied.

    Args:
        target: where the scan runs.
        shape: of the neurons of one step.
        streams: tensors over time, whose axes have the length of the shape's axes, or one.
        dim: axis of time in them.

    Raises:
        ValueError: time has more than AXES axes before it.
    """
    if dim > AXES:
        raise ValueError(
            f"scan: the fused backend takes up to {AXES} axes before time, those of vmap included, not {dim}"
        )
    steps = streams[0].shape[dim]
    shortest = min(math.prod(shape[dim:]), target.shortest_run)
    split = dim
    arranged = []
    for stream in streams:
        own = _first_run_axis(stream, shape, dim)
        if own > AXES or math.prod(shape[own:]) < shortest:
            stream, own = memory.contiguous(expanded(stream, shape, dim)), dim
        split = max(split, own)
        arranged.append(stream)
    return Layout(shape, steps, dim, split, streams[0].device), arranged


def expanded(stream: Tensor, shape: tuple[int, ...], dim: int) -> Tensor:
    """Return a stream with all axes of the neurons at their full length."""
    return stream.expand(with_time(shape, dim, stream.shape[dim]))


def _first_run_axis(stream: Tensor, shape: tuple[int, ...], dim: int) -> int:
    """Return the first axis of the shape after time from which on a stream is one run of memory."""
    sizes, strides = list(stream.shape), list(stream.stride())
    del sizes[dim], strides[dim]
    split = dim
    while split < len(shape) and not _is_run(sizes, strides, shape, split):
        split += 1
    return split


def _is_number(sizes: Sequence[int], strides: Sequence[int]) -> bool:
    """Return True if axes hold a single number in memory."""
    return all([size == 1 or stride == 0 for size, stride in zip(sizes, strides, strict=True)])


def _is_run(sizes: Sequence[int], strides: Sequence[int], shape: Sequence[int], split: int) -> bool:
    """Return True if the axes from ``split`` on have the shape's full lengths and are contiguous in memory."""
    expected = 1
    for axis in range(len(shape) - 1, split - 1, -1):
        if sizes[axis] != shape[axis] or (sizes[axis] > 1 and strides[axis] != expected):
            return False
        expected *= sizes[axis]
    return True
