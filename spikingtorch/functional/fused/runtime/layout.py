"""What a kernel needs of tensors: their layout in memory, (batch..., time, neurons) with strides, to avoid copies.

Three things can differ between the caller's tensors and a kernel's arrays. Samples and steps may be one axis,
(N T, ...). Channels-last images have their axes in another order in memory. If few neurons are adjacent in memory, time
is moved to the front, so that a row of neurons fills a vector. The first two are views, whose strides are all that a
kernel needs. The third is a copy.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from spikingtorch.functional.core import allocation
from spikingtorch.functional.core.shapes import with_time
from spikingtorch.functional.fused.codegen.abi import AXES
from spikingtorch.functional.fused.runtime.target import Target

# from a tensor to another one, both in the layout of the caller
Change: TypeAlias = Callable[[Tensor], Tensor] | None


class TensorSpec(NamedTuple):
    """The layout of a tensor in memory."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor) -> "TensorSpec":
        """Return the layout of a tensor in memory."""
        return cls(tuple(tensor.shape), tensor.stride(), tensor.dtype)


def layouts_of(tensors: Iterable[Tensor | None]) -> list[Any]:
    """Return the layout and the device of tensors, as part of a key."""
    return [None if t is None else (t.dtype, t.shape, t.stride(), t.get_device()) for t in tensors]


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
        return allocation.empty(shape, dtype, self.device)

    def one_step(self, dtype: torch.dtype) -> Tensor:
        """Return new memory without time."""
        return allocation.empty(self.shape, dtype, self.device)

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

        ``shared`` says whether neurons may share a value in memory.
        """
        sizes, strides = self._with_all_axes(tensor)
        one = shared and _is_number(sizes[self.split :], strides[self.split :])
        if one or _is_run(sizes, strides, self.shape, self.split):
            return tensor
        whole = tensor.reshape(sizes).expand(*sizes[: self.split], *self.shape[self.split :])
        return allocation.contiguous(whole)

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
    """Return the layout of a scan on a target, and its streams in it; streams whose memory is too scattered are copied.

    The axes of a stream have the length of the axes of ``shape``, or one, besides the axis ``dim`` of time. Raise
    ValueError if time has more than AXES axes before it.
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
            stream, own = allocation.contiguous(expanded(stream, shape, dim)), dim
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


class MemoryFormat(NamedTuple):
    """Channels-last images: neurons whose order in memory differs from the order of their axes.

    An elementwise step treats all axes alike. So the kernel takes them in the order of memory, as views, and the
    results return in the original order. Channels-last inputs give channels-last outputs, as with an operation of
    torch. Convolutions on the CPU are faster in this format.
    """

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

    The streams are inputs with all axes of the neurons, and time at ``dim``.
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


class Placement:
    """The axes of a scan as its kernel has them."""

    def __init__(
        self,
        target: Target,  # where the scan runs
        shape: tuple[int, ...],  # of the neurons of one step
        dim: int,  # axis of time in unfolded streams
        steps: int,  # T
        fold: tuple[int, int] | None,  # N samples and T steps, if they are one axis of inputs and outputs
        memory_format: MemoryFormat | None,  # the order of axes in memory, if it differs from their own order
        uniform: Sequence[Tensor],  # parameters that the program takes as one number
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
            return allocation.contiguous(expanded(stream, self._shape, self._time).movedim(self._time, 0))
        return stream if self._format is None else self._format.stream(stream)

    def copy(self, stream: Tensor) -> Tensor:
        """Return a copy of an array over time with the kernel's axes and a value for each neuron."""
        return allocation.contiguous(expanded(self.stream(stream), self._shape, self._dim))

    def static(self, tensor: Tensor) -> Tensor:
        """Return an array without time with the kernel's axes."""
        return tensor if self._format is None else self._format.rest(tensor)

    def result(self, found: Tensor, *, over_time: bool, folded: bool) -> tuple[TensorSpec, Change]:
        """Return the layout of a result for the caller, and the change that produces it."""
        if over_time and self._time is not None:
            front = self._from_front
            change = (lambda stream: front(stream).flatten(0, 1)) if folded and self._fold else front
            return TensorSpec.of(found), change
        if self._back is not None:
            found = self._back.stream(found) if over_time else self._back.rest(found)
        return TensorSpec.of(found.flatten(0, 1) if folded and self._fold else found), None

    def _from_front(self, stream: Tensor) -> Tensor:
        assert self._time is not None
        return stream.movedim(0, self._time).contiguous()


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
