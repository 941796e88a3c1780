"""Linear layers and convolutions that skip the zeros of their input."""

import operator
from typing import Any, NamedTuple, TypeAlias

import torch
import torch.nn.functional as nnf
from torch import Tensor

from spikingtorch.functional.core import memory
from spikingtorch.functional.core.network_mode import tell_modes
from spikingtorch.functional.sparse.autograd import marked, run
from spikingtorch.functional.sparse.choose import choose
from spikingtorch.functional.sparse.kernels import Events, mark_bools
from spikingtorch.functional.sparse.operations import Convolution, Linear, Operation

Size: TypeAlias = int | tuple[int, ...]


class Layer(NamedTuple):
    """A call of a layer as the kernels know it.

    Attributes:
        operation: the layer without its weights.
        x: its input.
        weight: its weights.
        bias: its bias, if it has one.
    """

    operation: Operation
    x: Tensor
    weight: Tensor
    bias: Tensor | None

    def objection(self) -> str | None:
        """Return why torch's own function computes it, None if kernels do."""
        return choose(self.operation, self.x, self.weight, self.bias)

    def marked(self, most: int | None = None) -> Events | None:
        """Return where its input is not zero, None if more than so many numbers are not."""
        return marked(self.operation, self.x, self.weight, most)

    @property
    def of_input(self) -> bool:
        """Whether its input will have a gradient."""
        return torch.is_grad_enabled() and self.x.requires_grad

    @property
    def of_weight(self) -> bool:
        """Whether its weights will have a gradient."""
        return torch.is_grad_enabled() and self.weight.requires_grad

    def wanted(self, support: Tensor, most: int) -> Events | None:
        """Return where the gradient of its input is wanted, from bools; None if that is at more than so many places."""
        threads = self.operation.shape(self.x.shape, self.weight.shape).threads
        places = self.operation.in_memory(support)
        # to be counted in any order, for to lay them out in another one takes longer
        if not places.is_contiguous() and mark_bools(memory.contiguous(support), threads).number > most:
            return None
        found = mark_bools(memory.contiguous(places), threads)
        return found if found.number <= most else None

    def run(self, events: Events | None, wanted: Events | None = None) -> Tensor:
        """Return its outputs, computed by kernels; without events by torch, and only gradients by them.

        Args:
            events: where its input is not zero.
            wanted: where the gradient of its input is wanted, None if everywhere.
        """
        return run(self.operation, self.x, self.weight, self.bias, events, wanted)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Layer:
    """Return ``torch.nn.functional.linear`` of these arguments as a layer."""
    return Layer(_LINEAR, x, weight, bias)


def convolution(
    axes: int,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Layer | None:
    """Return ``torch.nn.functional.conv1d`` or ``conv2d`` of these arguments as a layer, None if it is none."""
    if x.ndim != axes + 2 or weight.ndim != axes + 2 or groups != 1 or sizes(dilation, axes) != (1,) * axes:
        return None
    strides, paddings = sizes(stride, axes), _padding(padding, weight, axes)
    if strides is None or paddings is None or (padding == "same" and set(strides) != {1}):
        return None
    (stride_y, stride_x), (padding_y, padding_x) = (1, *strides)[-2:], (0, *paddings)[-2:]
    return Layer(Convolution((stride_y, stride_x), (padding_y, padding_x), axes), x, weight, bias)


def event_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Apply a linear layer and skip the zeros of its input.

        out[..., o] = bias[o] + sum over c with x[..., c] != 0 of weight[o, c] x[..., c]

    It equals ``torch.nn.functional.linear`` but for rounding, gradients included. The sums, and those of the weights'
    gradient, take time in proportion to how many inputs are not zero; the input's gradient is torch's own. It pays for
    inputs that are mostly zero, as spikes are, and for many rows. What kernels do not know (other dtypes and devices,
    torch.compile, torch.func, autocast, weights that are not finite) is torch's own function.

    Args:
        x: input, shape (*, C); spikes, or any numbers.
        weight: shape (O, C).
        bias: shape (O,).

    Returns:
        The outputs, shape (*, O).

    Raises:
        RuntimeError: shapes or dtypes do not fit, as in torch.

    >>> import torch
    >>> x, weight = torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    >>> event_linear(x, weight, bias=torch.tensor([0.5, 0.0]))
    tensor([[2.5000, 5.0000]])
    """
    return _run(nnf.linear, linear(x, weight, bias), x, weight, bias)


def event_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Size = 1, padding: Size | str = 0
) -> Tensor:
    """Convolve images and skip their zeros.

        out[n, o, i, j] = bias[o] + sum over c, k, l with x[n, c, i', j'] != 0 of weight[o, c, k, l] x[n, c, i', j'],
                          i' = stride i + k - padding, j' = stride j + l - padding

    It equals ``torch.nn.functional.conv2d`` but for rounding, gradients included; see ``event_linear``. Images in
    channels-last memory are read as they are, others are copied.

    Args:
        x: images, shape (N, C, H, W).
        weight: shape (O, C, K, L).
        bias: shape (O,).
        stride: one number, or one for each of height and width.
        padding: zeros at each end, one number or one for each of height and width; or "valid" or "same".

    Returns:
        The outputs, shape (N, O, H', W'), in channels-last memory if images or weights are.

    Raises:
        RuntimeError: shapes or dtypes do not fit, as in torch.

    >>> import torch
    >>> spikes = (torch.rand(2, 3, 8, 8) < 0.1).float()
    >>> event_conv2d(spikes, torch.randn(4, 3, 3, 3), stride=2, padding=1).shape
    torch.Size([2, 4, 4, 4])
    """
    return _run(nnf.conv2d, convolution(2, x, weight, bias, stride, padding), x, weight, bias, stride, padding)


def event_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Size = 1, padding: Size | str = 0
) -> Tensor:
    """Convolve sequences and skip their zeros.

        out[n, o, i] = bias[o] + sum over c, k with x[n, c, i'] != 0 of weight[o, c, k] x[n, c, i'],
                       i' = stride i + k - padding

    It equals ``torch.nn.functional.conv1d`` but for rounding, gradients included; see ``event_linear``.

    Args:
        x: sequences, shape (N, C, L).
        weight: shape (O, C, K).
        bias: shape (O,).
        stride: how far the kernel moves.
        padding: zeros at each end; or "valid" or "same".

    Returns:
        The outputs, shape (N, O, L').

    Raises:
        RuntimeError: shapes or dtypes do not fit, as in torch.

    >>> import torch
    >>> event_conv1d(torch.tensor([[[0.0, 1.0, 0.0, 0.0]]]), torch.tensor([[[1.0, 2.0, 3.0]]]), padding=1)
    tensor([[[3., 2., 1., 0.]]])
    """
    return _run(nnf.conv1d, convolution(1, x, weight, bias, stride, padding), x, weight, bias, stride, padding)


_LINEAR = Linear()


def _run(dense: Any, layer: Layer | None, *args: Any) -> Tensor:
    """Return the outputs of a layer.

    Args:
        dense: torch's own function.
        layer: what it is called with, as the kernels know it; None if they do not.
        args: what it is called with.
    """
    out: Tensor
    if layer is None or layer.objection() is not None:
        out = dense(*args)
        return out
    events = layer.marked()
    assert events is not None
    out = layer.run(events)
    tell_modes(dense, out, *args)
    return out


def _padding(padding: Size | str, weight: Tensor, axes: int) -> tuple[int, ...] | None:
    if padding == "valid":
        return (0,) * axes
    if padding == "same":
        # torch puts one more zero behind the images if a kernel is even
        around = tuple([kernel - 1 for kernel in weight.shape[2:]])
        return None if any([zeros % 2 for zeros in around]) else tuple([zeros // 2 for zeros in around])
    return None if isinstance(padding, str) else sizes(padding, axes)


def sizes(size: Any, axes: int) -> tuple[int, ...] | None:
    """Return a number for each axis, None if there are not as many."""
    try:
        found = tuple(map(operator.index, size)) if isinstance(size, tuple | list) else (operator.index(size),) * axes
    except TypeError:
        return None
    found = found * axes if len(found) == 1 else found
    return found if len(found) == axes else None
