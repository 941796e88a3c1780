"""Linear layers and convolutions that skip the zeros of their input."""

import operator
from typing import Any, TypeAlias

import torch.nn.functional as nnf
from torch import Tensor

from spikingtorch.functional.core.network_mode import tell_modes
from spikingtorch.functional.sparse.autograd import marked, run
from spikingtorch.functional.sparse.choose import choose
from spikingtorch.functional.sparse.operations import Convolution, Layer, Linear

Size: TypeAlias = int | tuple[int, ...]


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
    """Return ``torch.nn.functional.conv1d`` or ``conv2d`` of these arguments as a layer; None if no kernel takes it."""
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

    It equals ``torch.nn.functional.linear`` except for rounding, gradients included. The outputs and the gradient of
    the weights take time in proportion to the number of nonzero inputs. Torch computes the gradient of the input. It
    pays off for inputs that are mostly zero, such as spikes, and for many rows. Torch's function runs if kernels do not
    support the call: other dtypes and devices, torch.compile, torch.func, autocast, weights that are not finite.

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

    It equals ``torch.nn.functional.conv2d`` except for rounding, gradients included; see ``event_linear``. Images in
    channels-last memory are read in place, others are copied.

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

    It equals ``torch.nn.functional.conv1d`` except for rounding, gradients included; see ``event_linear``.

    Args:
        x: sequences, shape (N, C, L).
        weight: shape (O, C, K).
        bias: shape (O,).
        stride: the distance by which the kernel moves.
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


def spikes_or_dense(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve sequences as ``event_conv1d`` does, but graded inputs by torch if more than a quarter is not zero.

    Spikes take one way whatever their number, so that a part of a sequence has the bits of the whole.
    """
    return _run(nnf.conv1d, convolution(1, x, weight), x, weight, most=0.25)


_LINEAR = Linear()


def _run(dense: Any, layer: Layer | None, *args: Any, most: float = 1.0) -> Tensor:
    """Return the outputs of a layer, by torch's own function ``dense`` if kernels do not support its arguments.

    Torch's function also computes graded inputs of which a larger share than ``most`` is not zero.
    """
    out: Tensor
    events = None if layer is None or choose(layer) is not None else marked(layer)
    if layer is None or events is None or (events.graded is not None and events.number > most * layer.x.numel()):
        out = dense(*args)
        return out
    out = run(layer, events)
    tell_modes(dense, out, *args)
    return out


def _padding(padding: Size | str, weight: Tensor, axes: int) -> tuple[int, ...] | None:
    if padding == "valid":
        return (0,) * axes
    if padding == "same":
        # torch adds one more zero after the images if a kernel is even
        around = tuple([kernel - 1 for kernel in weight.shape[2:]])
        return None if any([zeros % 2 for zeros in around]) else tuple([zeros // 2 for zeros in around])
    return None if isinstance(padding, str) else sizes(padding, axes)


def sizes(size: Any, axes: int) -> tuple[int, ...] | None:
    """Return a number for each axis; None if their count differs."""
    try:
        found = tuple(map(operator.index, size)) if isinstance(size, tuple | list) else (operator.index(size),) * axes
    except TypeError:
        return None
    found = found * axes if len(found) == 1 else found
    return found if len(found) == axes else None
