"""The layers that skip zeros, without their weights: in torch's form, and as images in channels-last memory.

``shape`` describes the layer for kernels, from the shapes of input and weights. ``in_memory`` returns an input or
output with its axes in the order of memory, without a copy, and ``from_memory`` is its inverse. ``format`` is the
memory format of torch's results. ``gradients`` are differentiable.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as nnf
from torch import Tensor

from spikingtorch.functional.core import allocation
from spikingtorch.functional.core.threads import threads_for
from spikingtorch.functional.sparse.c_abi import Shape

# the largest number of rows of a kernel, each with an entry on the stack; and of strides, by whose places inputs are
# sorted
_TALLEST, _FARTHEST = 1024, 64


class Linear(NamedTuple):
    """``torch.nn.functional.linear``: each row is an image of one pixel."""

    def misfit(self, x: Tensor, weight: Tensor) -> str | None:
        """Return why the shapes do not form a layer for kernels; None if they do."""
        fits = x.ndim > 0 and weight.ndim == 2 and x.shape[-1] == weight.shape[1]
        return None if fits else _unfit(x.shape, weight.shape)

    def shape(self, x: Sequence[int], weight: Sequence[int]) -> Shape:
        """Return the layer in the form for kernels."""
        outputs, channels = weight
        rows = math.prod(x[:-1])
        return Shape(threads_for(rows * (channels + outputs)), rows, 1, 1, channels, 1, 1, outputs, 1, 1, 1, 1, 0, 0)

    def in_memory(self, tensor: Tensor) -> Tensor:
        """Return the tensor itself."""
        return tensor

    def from_memory(self, tensor: Tensor) -> Tensor:
        """Return the tensor itself."""
        return tensor

    def format(self, *tensors: Tensor) -> torch.memory_format:  # noqa: ARG002
        """Return the memory format of all tensors except images."""
        return torch.contiguous_format

    def out_shape(self, x: Sequence[int], s: Shape) -> tuple[int, ...]:
        """Return the shape of the outputs."""
        return (*x[:-1], s.outputs)

    def strides(self, shape: tuple[int, ...], layout: torch.memory_format) -> tuple[int, ...]:  # noqa: ARG002
        """Return the strides that torch gives a tensor of a shape."""
        return allocation.strides(shape)

    def dense(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the outputs by torch."""
        return nnf.linear(x, weight, bias)

    def gradients(self, g: Tensor, x: Tensor, weight: Tensor, wanted: Sequence[bool]) -> list[Tensor | None]:
        """Return the wanted gradients as torch computes them."""
        rows = g.reshape(-1, g.shape[-1])
        return [
            g @ weight if wanted[0] else None,
            rows.T @ x.reshape(-1, x.shape[-1]) if wanted[1] else None,
            rows.sum(0) if wanted[2] else None,
        ]


class Convolution(NamedTuple):
    """``torch.nn.functional.conv2d`` of one group, without dilation; or ``conv1d``, for images of height one."""

    stride: tuple[int, int]  # along height and width
    padding: tuple[int, int]  # zeros at each end of height and width
    axes: int = 2  # 2 for images, 1 for sequences

    def misfit(self, x: Tensor, weight: Tensor) -> str | None:
        """Return why the shapes do not form a layer for kernels; None if they do."""
        if x.ndim != self.axes + 2 or weight.ndim != self.axes + 2:
            return _unfit(x.shape, weight.shape)
        images, weights = _as_images(x.shape), _as_images(weight.shape)
        kernel = weights[2:]
        if images[1] != weights[1]:
            return _unfit(images, weights)
        if min(self.stride) < 1 or max(self.stride) > _FARTHEST or kernel[0] > _TALLEST:
            return f"has stride {self.stride} and a kernel of shape {kernel}"
        if any([not 0 <= pad < size for pad, size in zip(self.padding, kernel, strict=True)]):
            return f"has stride {self.stride} and padding {self.padding} for a kernel of shape {kernel}"
        if min(self._size(images, weights)) < 1:
            return f"has images of shape {images[2:]} that are smaller than the kernel"
        return None

    def shape(self, x: Sequence[int], weight: Sequence[int]) -> Shape:
        """Return the layer in the form for kernels."""
        x, weight = _as_images(x), _as_images(weight)
        (images, channels, height, width), (outputs, _, *kernel) = x, weight
        out_height, out_width = self._size(x, weight)
        threads = threads_for(images * (channels * height * width + outputs * out_height * out_width))
        sizes = (images, height, width, channels, out_height, out_width, outputs, *kernel)
        return Shape(threads, *sizes, *self.stride, *self.padding)

    def in_memory(self, tensor: Tensor) -> Tensor:
        """Return images or sequences with their channels last."""
        return tensor.permute(0, 2, 3, 1) if self.axes == 2 else tensor.permute(0, 2, 1)

    def from_memory(self, tensor: Tensor) -> Tensor:
        """Return images or sequences with their channels first."""
        return tensor.permute(0, 3, 1, 2) if self.axes == 2 else tensor.permute(0, 2, 1)

    def format(self, *tensors: Tensor) -> torch.memory_format:
        """Return channels-last if the strides of any tensor look like it.

        A first tensor of sequences does not count, because torch makes it contiguous.
        """
        looked_at = tensors if self.axes == 2 else [tensor.unsqueeze(2) for tensor in tensors[1:]]
        return torch.channels_last if any(map(_is_channels_last, looked_at)) else torch.contiguous_format

    def out_shape(self, x: Sequence[int], s: Shape) -> tuple[int, ...]:  # noqa: ARG002
        """Return the shape of the outputs."""
        return (s.images, s.outputs, *(s.out_height, s.out_width)[-self.axes :])

    def strides(self, shape: tuple[int, ...], layout: torch.memory_format) -> tuple[int, ...]:
        """Return the strides that torch gives images or sequences of a shape."""
        if layout == torch.contiguous_format:
            return allocation.strides(shape)
        samples, *along, channels = allocation.strides((shape[0], *shape[2:], shape[1]))
        return (samples, channels, *along)

    def dense(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the outputs by torch."""
        run = nnf.conv2d if self.axes == 2 else nnf.conv1d
        return run(x, weight, bias, self.stride[-self.axes :], self.padding[-self.axes :])

    def gradients(self, g: Tensor, x: Tensor, weight: Tensor, wanted: Sequence[bool]) -> list[Tensor | None]:
        """Return the wanted gradients as torch computes them."""
        if self.axes == 1:
            found = self._replace(axes=2).gradients(g.unsqueeze(2), x.unsqueeze(2), weight.unsqueeze(2), wanted)
            return [None if of is None else of.squeeze(2) for of in found[:2]] + found[2:]
        sizes, zeros = [weight.shape[0]] if wanted[2] else None, [0, 0]
        stride, padding = list(self.stride), list(self.padding)
        of_images = torch.ops.aten.convolution_backward(
            g, x, weight, sizes, stride, padding, [1, 1], False, zeros, 1, list(wanted)
        )
        return list(of_images)

    def _size(self, x: Sequence[int], weight: Sequence[int]) -> tuple[int, int]:
        """Return height and width of the outputs."""
        height, width = (
            (size + 2 * padding - kernel) // stride + 1
            for size, kernel, stride, padding in zip(x[2:], weight[2:], self.stride, self.padding, strict=True)
        )
        return height, width


Operation: TypeAlias = Linear | Convolution


class Layer(NamedTuple):
    """A call of a layer, in the form for kernels."""

    operation: Operation  # the layer without its weights
    x: Tensor  # its input
    weight: Tensor  # its weights
    bias: Tensor | None = None  # its bias, if it has one

    @property
    def shape(self) -> Shape:
        """Its sizes, for kernels."""
        return self.operation.shape(self.x.shape, self.weight.shape)

    @property
    def of_input(self) -> bool:
        """Whether its input gets a gradient."""
        return torch.is_grad_enabled() and self.x.requires_grad

    @property
    def of_weight(self) -> bool:
        """Whether its weights get a gradient."""
        return torch.is_grad_enabled() and self.weight.requires_grad


def _unfit(x: Sequence[int], weight: Sequence[int]) -> str:
    return f"has an input of shape {tuple(x)} for weights of shape {tuple(weight)}"


def _as_images(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(shape) if len(shape) == 4 else (*shape[:2], 1, *shape[2:])


def _is_channels_last(images: Tensor) -> bool:
    """Decide as torch's ``suggest_memory_format`` does, also for axes of length one and gaps in memory."""
    sizes, strides, least = images.shape, images.stride(), 0
    if strides[1] == 0:
        return False
    for axis in (1, 3, 2, 0):
        if strides[axis] < least or (axis == 0 and least == strides[1]):
            return False
        least = strides[axis] * max(sizes[axis], 1)
    return True
