"""Convert the caller's tensors to a kernel's arrays, and back.

Three things can differ. Samples and steps may be one axis, (N T, ...). Channels-last images have their axes in another
order in memory. If few neurons are adjacent in memory, time is moved to the front, so that a row of neurons fills a
vector. The first two are views, whose strides are all that a kernel needs. The third is a copy.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from spikingtorch.functional.core import memory
from spikingtorch.functional.fused.runtime.launcher import Change, TensorSpec
from spikingtorch.functional.fused.runtime.layout import Layout, arrange, expanded
from spikingtorch.functional.fused.runtime.memory_format import MemoryFormat
from spikingtorch.functional.fused.runtime.target import Target


class Placement:
    """The axes of a scan as its kernel has them.

    Args:
        target: where the scan runs.
        shape: of the neurons of one step.
        dim: axis of time in unfolded streams.
        steps: T.
        fold: N samples and T steps, if they are one axis of inputs and outputs.
        memory_format: the order of axes in memory, if it differs from their own order.
        uniform: parameters that the program takes as one number.
    """

    def __init__(
        self,
        target: Target,
        shape: tuple[int, ...],
        dim: int,
        steps: int,
        fold: tuple[int, int] | None,
        memory_format: MemoryFormat | None,
        uniform: Sequence[Tensor],
    ) -> None:
        self._target, self._fold, self._format = target, fold, memory_format
        self._back = None if memory_format is None else memory_format.back()
        # the original axis of time of a narrow scan; its parameters hold no number for each row, as under vmap
        narrow = target.gathers_time(math.prod(shape[:dim]), math.prod(shape[dim:]), steps)
        self._time = dim if narrow and all([param.numel() == 1 for param in uniform]) else None
        self._shape = shape if memory_format is None else memory_format.shape(shape)
        self._dim = dim if self._time is None else 0

    def layout(self, streams: Sequence[Tensor]) -> tuple[Layout, list[Tensor]]:
        """Return the layout of the kernel, and the streams of ``stream`` in it: themselves, or copies."""
        return arrange(self._target, self._shape, streams, self._dim)

    def unfold(self, stream: Tensor) -> Tensor:
        """Return (N, T, ...) for a folded stream, and any other stream unchanged."""
        return stream if self._fold is None else stream.unflatten(0, self._fold)

    def stream(self, stream: Tensor) -> Tensor:
        """Return an unfolded array over time with the kernel's axes."""
        if self._time is not None:
            return memory.contiguous(expanded(stream, self._shape, self._time).movedim(self._time, 0))
        return stream if self._format is None else self._format.stream(stream)

    def copy(self, stream: Tensor) -> Tensor:
        """Return a copy of an array over time with the kernel's axes and a value for each neuron."""
        return memory.contiguous(expanded(self.stream(stream), self._shape, self._dim))

    def static(self, tensor: Tensor) -> Tensor:
        """Return an array without time with the kernel's axes."""
        return tensor if self._format is None else self._format.rest(tensor)

    def result(self, found: Tensor, *, over_time: bool, folded: bool) -> tuple[TensorSpec, Change]:
        """Return the layout of a result for the caller, and the change that produces it."""
        if over_time and self._time is not None:
            return TensorSpec.of(found), self._folded_from_front if folded and self._fold else self._from_front
        if self._back is not None:
            found = self._back.stream(found) if over_time else self._back.rest(found)
        return TensorSpec.of(found.flatten(0, 1) if folded and self._fold else found), None

    def _from_front(self, stream: Tensor) -> Tensor:
        assert self._time is not None
        return stream.movedim(0, self._time).contiguous()

    def _folded_from_front(self, stream: Tensor) -> Tensor:
        return self._from_front(stream).flatten(0, 1)


def summed(change: Change, spec: TensorSpec, shape: torch.Size) -> Change:
    """Return a change that sums a gradient over the axes along which its leaf, of the given shape, is broadcast."""
    if change is None:
        return None if torch.Size(spec.shape) == shape else lambda grad: sum_to(grad, shape)
    return lambda grad: sum_to(change(grad), shape)


def sum_to(grad: Tensor, shape: torch.Size) -> Tensor:
    """Return a gradient in the shape of its leaf."""
    if grad.shape == shape:
        return grad
    # sum_to_size takes four times as long as a sum over all numbers
    return grad.sum().view(shape) if shape.numel() == 1 else grad.sum_to_size(shape)
