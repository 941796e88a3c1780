"""Max pooling by a kernel that saves one byte per output: the place of the largest number in its window.

Torch saves eight bytes per output, and the input, of which it reads only the shape. The results have the same bits as
torch's: of equal numbers, the first in a window counts; where windows overlap, gradients are added in the same order.
"""

from collections.abc import Sequence
from ctypes import byref
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from spikingtorch.functional.core import allocation
from spikingtorch.functional.core.modes import HOST, are_plain, in_eager
from spikingtorch.functional.core.threads import threads_for
from spikingtorch.functional.sparse.c_abi import Pool, failure, functions, pointer
from spikingtorch.functional.sparse.choose import PLAIN, can_run
from spikingtorch.functional.sparse.layers import Size, sizes
from spikingtorch.functional.sparse.operations import Convolution

# the largest size of a window, for one byte; the largest size of an image, for 32 bits
_MOST, _MOST_OF_IMAGE = 2**8, 2**31
# the size of an input for which torch takes as long as the call of a kernel
LEAST = 2**15


class Windows(NamedTuple):
    """The windows of a pool over images; each field has one number for height and one for width."""

    kernel: tuple[int, ...]  # sizes of a window
    stride: tuple[int, ...]  # the distance between windows
    padding: tuple[int, ...]  # at each end of an image
    dilation: tuple[int, ...]  # the distance between its numbers
    ceil_mode: bool  # whether the last window may extend beyond the image

    def outputs(self, image: Sequence[int]) -> tuple[int, int] | None:
        """Return height and width of the outputs; None if torch raises, or if a window may hold only padding."""
        found = []
        for size, kernel, stride, padding, dilation in zip(image, *self[:4], strict=True):
            if min(kernel, stride, dilation) < 1 or not 0 <= 2 * padding <= kernel or dilation > size:
                return None
            beyond = size + 2 * padding - (kernel - 1) * dilation - 1
            number = (beyond + (stride - 1 if self.ceil_mode else 0)) // stride + 1
            number -= self.ceil_mode and (number - 1) * stride >= size + padding  # it would begin after the image
            if number < 1 or beyond < 0:
                return None
            found.append(number)
        return found[0], found[1]

    def first(self, like: Tensor, width: int) -> Tensor:
        """Return the place in an image of a given width where each window begins, or would begin without padding."""
        rows, columns = (
            torch.arange(size, device=like.device) * stride - padding
            for size, stride, padding in zip(like.shape[2:], self.stride, self.padding, strict=True)
        )
        return rows[:, None] * width + columns

    def within(self, places: Tensor, width: int) -> Tensor:
        """Return the distances from a window's first number to its other numbers, in an image of a given width."""
        (_, columns), (down, right) = self.kernel, self.dilation
        return places // columns * (down * width) + places % columns * right


def max_pool2d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | None:
    """Return ``torch.nn.functional.max_pool2d`` of these arguments; None if torch has to compute it."""
    if return_indices or type(ceil_mode) is not bool or x.ndim != 4 or x.dtype != torch.float32 or x.numel() < LEAST:
        return None
    if not in_eager() or not are_plain((x,), PLAIN) or failure() is not None:
        return None
    moves = kernel_size if stride is None or stride in ((), []) else stride
    numbers = [sizes(each, 2) for each in (kernel_size, moves, padding, dilation)]
    known = [each for each in numbers if each is not None]
    if len(known) < len(numbers):
        return None  # for torch to complain about
    windows = Windows(known[0], known[1], known[2], known[3], ceil_mode)
    outputs = windows.outputs(x.shape[2:])
    if outputs is None or known[0][0] * known[0][1] > _MOST or x[0].numel() >= _MOST_OF_IMAGE:
        return None
    if torch.is_grad_enabled() and x.requires_grad:
        out: Tensor = _apply(windows, outputs, x)
        return out
    return _forward(windows, outputs, x, keep=False)[0]


def pooled_support(out: Tensor, support: Tensor) -> Tensor | None:
    """Return which outputs of ``max_pool2d`` come from places where ``support`` is true; None if this is unknown."""
    node: Any = out.grad_fn
    if getattr(node, "_forward_cls", None) is not MaxPool:
        return None
    (places,), layout = node.saved_tensors, node.layout
    flags = support.contiguous(memory_format=layout)
    found = allocation.strided(tuple(out.shape), out.stride(), torch.bool, HOST)
    pool = _pool(node.windows, support.shape, tuple(out.shape[2:]), layout)
    functions().pool_bools(byref(pool), flags.data_ptr(), places.data_ptr(), found.data_ptr())
    return found


class MaxPool(Function):
    """``apply(windows, outputs, x)``: with height and width of the outputs."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, windows: Windows, outputs: tuple[int, int], x: Tensor
    ) -> Tensor:
        """Return the largest number of each window."""
        out, places = _forward(windows, outputs, x, keep=True)
        ctx.windows, ctx.shape, ctx.layout = windows, x.shape, _IMAGES.format(x)
        ctx.save_for_backward(places)
        ctx.set_materialize_grads(False)
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradient of the input."""
        if g is None:
            return None, None, None
        windows, shape, layout, (places,) = ctx.windows, tuple(ctx.shape), ctx.layout, ctx.saved_tensors
        found = allocation.strided(shape, _IMAGES.strides(shape, layout), g.dtype, HOST)
        if not can_run(g):
            where = windows.first(places, shape[3]) + windows.within(places.long(), shape[3])
            # only the shape and the strides of the input are read
            return None, None, torch.ops.aten.max_pool2d_with_indices_backward(g, found, *windows, where)
        # in the order of the images, even if a hook on saved tensors has changed it
        g, places = g.contiguous(memory_format=layout), places.contiguous(memory_format=layout)
        pool = _pool(windows, shape, places.shape[2:], layout)
        functions().max_pool_gradient(byref(pool), g.data_ptr(), places.data_ptr(), found.data_ptr())
        return None, None, found


def _forward(windows: Windows, outputs: tuple[int, int], x: Tensor, *, keep: bool) -> tuple[Tensor, Tensor | None]:
    """Return the largest number of each window and, if wanted, its place in the window."""
    layout, shape = _IMAGES.format(x), (*x.shape[:2], *outputs)
    strides = _IMAGES.strides(shape, layout)
    out = allocation.strided(shape, strides, torch.float32, HOST)
    places = allocation.strided(shape, strides, torch.uint8, HOST) if keep else None
    pool, images = _pool(windows, x.shape, outputs, layout), x.detach().contiguous(memory_format=layout)
    room = allocation.empty((pool.threads * functions().pool_room(byref(pool)),), torch.float32, HOST)
    functions().max_pool(byref(pool), images.data_ptr(), out.data_ptr(), pointer(places), room.data_ptr())
    return out, places


def _pool(windows: Windows, shape: Sequence[int], outputs: Sequence[int], layout: torch.memory_format) -> Pool:
    """Return the pool in the form for kernels."""
    images, channels, height, width = shape
    if layout == torch.contiguous_format:
        images, channels = images * channels, 1
    threads = threads_for(images * channels * height * width)
    numbers = [number for each in windows[:4] for number in each]
    return Pool(threads, images, height, width, channels, *outputs, *numbers)


_IMAGES = Convolution((1, 1), (0, 0))
_apply: Any = getattr(super(Function, MaxPool), "apply")  # noqa: B009 - torch does not annotate it
