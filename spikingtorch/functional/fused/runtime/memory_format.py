"""Channels-last images: neurons whose order in memory differs from the order of their axes.

An elementwise step treats all axes alike. So the kernel takes them in the order of memory, as views, and the results
return in the original order. Nothing is copied. Channels-last inputs give channels-last outputs, as with an operation
of torch. Convolutions on the CPU are faster in this format.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class MemoryFormat(NamedTuple):
    """The order of axes in memory."""

    axes: tuple[int, ...]  # the axes of the neurons after time, in the order of memory, counted from the first of them
    dim: int  # axis of time in inputs and outputs, and the number of axes of the neurons before it

    def stream(self, tensor: Tensor) -> Tensor:
        """Return an array over time with its axes in the order of memory."""
        return _moved(tensor, self.axes, self.dim + 1)

    def rest(self, tensor: Tensor) -> Tensor:
        """Return an array without time with its axes in the order of memory; missing axes are added."""
        missing = self.dim + len(self.axes) - tensor.ndim
        return _moved(tensor[(None,) * missing] if missing else tensor, self.axes, self.dim)

    def shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of the neurons in the order of memory."""
        return (*shape[: self.dim], *[shape[self.dim + axis] for axis in self.axes])

    def back(self) -> "MemoryFormat":
        """Return the order that undoes this one."""
        return MemoryFormat(tuple([self.axes.index(axis) for axis in range(len(self.axes))]), self.dim)


def memory_format_of(streams: Sequence[Tensor], dim: int) -> MemoryFormat | None:
    """Return the order of channels-last images in memory, or None for any other layout.

    Args:
        streams: inputs with all axes of the neurons, and time.
        dim: axis of time in them.
    """
    if torch.compiler.is_compiling():
        return None  # the compiler chooses the strides
    first = streams[0]
    sizes, strides = first.shape[dim + 1 :], first.stride()[dim + 1 :]
    if any([stream.shape != first.shape for stream in streams]):
        return None
    # the channels of images are the first axis, or the second one after the axis of samples
    found = [axes for lead in (0, 1) if (axes := _channels_last(sizes, strides, lead))]
    return MemoryFormat(found[0], dim) if found else None


def _channels_last(sizes: Sequence[int], strides: Sequence[int], lead: int) -> tuple[int, ...] | None:
    """Return axes in the order of memory if the axis at ``lead`` is the last there and the others keep their order."""
    if len(sizes) < lead + 3 or math.prod(sizes[lead + 1 :]) == 1 or sizes[lead] == 1:
        return None  # not images, or equal in both formats
    axes = (*range(lead), *range(lead + 1, len(sizes)), lead)
    expected = 1
    for axis in reversed(axes):
        if sizes[axis] != 1 and strides[axis] != expected:
            return None
        expected *= sizes[axis]
    return axes


def _moved(tensor: Tensor, axes: tuple[int, ...], first: int) -> Tensor:
    return tensor.permute(*range(first), *[first + axis for axis in axes])
