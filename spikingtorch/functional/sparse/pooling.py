"""Max pooling whose backward pass keeps two bytes an output: where in its window the largest number is.

torch keeps the input, of which it reads nothing but the shape, and eight bytes an output. The outputs and gradients are
torch's own.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from spikingtorch.functional.core import memory
from spikingtorch.functional.core.modes import HOST, are_plain, in_eager
from spikingtorch.functional.sparse.choose import PLAIN
from spikingtorch.functional.sparse.layers import Size, sizes
from spikingtorch.functional.sparse.operations import Conv2d

_LARGEST = torch.iinfo(torch.int16).max
# bytes of an input from which the memory is worth a tenth of a millisecond
LEAST = 2**21


class Windows(NamedTuple):
    """The windows of a pool over images, each number one for height and one for width.

    Attributes:
        kernel: sizes of a window.
        stride: how far it moves.
        padding: at each end of an image.
        dilation: how far its numbers are from each other.
        ceil_mode: whether the last window may reach out of the image.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    ceil_mode: bool

    def reach(self, width: int) -> int:
        """Return how far in an image of a width the last number of a window lies behind the first.

        No number lies further from where ``first`` says: padding is at most half of a window.
        """
        (rows, columns), (down, right) = self.kernel, self.dilation
        return (rows - 1) * down * width + (columns - 1) * right

    def first(self, like: Tensor, width: int) -> Tensor:
        """Return where in an image of a width each window begins, or would begin without padding."""
        rows, columns = (
            torch.arange(size, device=like.device) * stride
            for size, stride in zip(like.shape[2:], self.stride, strict=True)
        )
        return rows[:, None] * width + columns


def max_pool2d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | None:
    """Return ``torch.nn.functional.max_pool2d`` of these arguments; None if torch is to compute it."""
    if return_indices or not (torch.is_grad_enabled() and x.requires_grad and x.ndim == 4):
        return None
    if x.nbytes < LEAST or not in_eager() or not are_plain((x,), PLAIN):
        return None
    moves = kernel_size if stride is None or stride in ((), []) else stride
    numbers = [sizes(each, 2) for each in (kernel_size, moves, padding, dilation)]
    known = [each for each in numbers if each is not None and min(each) >= 0]
    if len(known) < len(numbers):
        return None  # for torch to complain about
    kernel, strides, paddings, dilations = known
    windows = Windows(kernel, strides, paddings, dilations, ceil_mode)
    if windows.reach(x.shape[3]) > _LARGEST:
        return None
    out: Tensor = _apply(windows, x)
    return out


class MaxPool(Function):
    """``apply(windows, x)``."""

    @staticmethod
    def forward(ctx: Any, windows: Windows, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the largest number of each window."""
        out: Tensor
        out, places = torch.ops.aten.max_pool2d_with_indices(x, *windows)
        ctx.windows, ctx.shape, ctx.layout = windows, x.shape, _IMAGES.format(x)
        # whole numbers of 16 bits wrap around, and the difference of two is right where it fits
        ctx.save_for_backward(places.to(torch.int16).sub_(windows.first(out, x.shape[3]).to(torch.int16)))
        ctx.set_materialize_grads(False)
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradient of the input."""
        if g is None:
            return None, None
        windows, (offsets,) = ctx.windows, ctx.saved_tensors
        places = memory.strided(tuple(offsets.shape), offsets.stride(), torch.int64, HOST)
        places.copy_(offsets).add_(windows.first(offsets, ctx.shape[3]))
        # nothing of the input but its shape and its strides is read
        strides = _IMAGES.strides(tuple(ctx.shape), ctx.layout)
        x = torch.empty_strided(ctx.shape, strides, dtype=g.dtype, device=HOST)
        return None, torch.ops.aten.max_pool2d_with_indices_backward(g, x, *windows, places)


_IMAGES = Conv2d((1, 1), (0, 0))
_apply: Any = getattr(super(Function, MaxPool), "apply")  # noqa: B009 - torch does not annotate it
