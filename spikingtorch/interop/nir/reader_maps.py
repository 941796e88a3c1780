"""What readers make of nodes without a state: modules of torch in float32, as a part of ``reader_neurons``."""

from collections.abc import Callable
from typing import Any

import nir
import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

from spikingtorch.interop.nir.reference_types import Array, Cell, Given


def map_of(node: Any, flattens_batch: bool) -> Cell:
    """Return the function of a node, (N, ...) to (N, ...).

    Args:
        node: one of those in ``KINDS``.
        flattens_batch: whether the reader hands the axes of Flatten on as they are, so that they count the batch.

    Raises:
        ValueError: readers compute something else than the node says.
    """
    if isinstance(node, nir.Flatten):
        return _of(_flatten(node, flattens_batch))
    return _of(_MAPS[type(node)](node))


def _of(function: Callable[[Tensor], Tensor]) -> Cell:
    def cell(arriving: Array) -> Given:
        found: Any = function(torch.from_numpy(np.ascontiguousarray(arriving)).float())
        return Given(found.numpy())

    return cell


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.array(array)).float()


def _passed(_node: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: x


def _linear(node: Any) -> Callable[[Tensor], Tensor]:
    weight, bias = _tensor(node.weight), _tensor(node.bias) if isinstance(node, nir.Affine) else None
    return lambda x: nnf.linear(x, weight, bias)


def _convolution(node: Any) -> Callable[[Tensor], Tensor]:
    if int(node.groups) != 1:
        raise ValueError("a convolution in groups, with which most readers fail")
    axes = np.ndim(node.weight) - 2
    weight, bias = _tensor(node.weight), _tensor(node.bias)
    stride, dilation = (_sizes(each, axes) for each in (node.stride, node.dilation))
    padding: Any = node.padding if isinstance(node.padding, str) else _sizes(node.padding, axes)
    convolve: Any = nnf.conv1d if axes == 1 else nnf.conv2d
    return lambda x: convolve(x, weight, bias, stride, padding, dilation)


def _average(node: Any) -> Callable[[Tensor], Tensor]:
    sizes = [_sizes(each, 2) for each in (node.kernel_size, node.stride, node.padding)]
    return lambda x: nnf.avg_pool2d(x, *sizes)


def _sum(node: Any) -> Callable[[Tensor], Tensor]:
    if np.any(node.padding):
        raise ValueError("SumPool2d with padding, which readers leave out")
    kernel, stride = (_sizes(each, 2) for each in (node.kernel_size, node.stride))
    return lambda x: nnf.avg_pool2d(x, kernel, stride) * float(kernel[0] * kernel[1])


def _flatten(node: Any, flattens_batch: bool) -> Callable[[Tensor], Tensor]:
    start, end = int(node.start_dim), int(node.end_dim)
    if flattens_batch and (start >= 0 or end >= 0):
        raise ValueError(
            f"Flatten from axis {start} to {end}, which the reader counts with the batch before them; it needs "
            "negative numbers"
        )
    start, end = (each + 1 if each >= 0 else each for each in (start, end))
    return lambda x: x.flatten(start, end)


def _sizes(value: Any, axes: int) -> Any:
    return tuple(int(each) for each in np.broadcast_to(np.asarray(value), (axes,)))


_MAPS: dict[type, Callable[[Any], Callable[[Tensor], Tensor]]] = {
    **dict.fromkeys((nir.Input, nir.Output), _passed),
    **dict.fromkeys((nir.Affine, nir.Linear), _linear),
    **dict.fromkeys((nir.Conv1d, nir.Conv2d), _convolution),
    nir.AvgPool2d: _average,
    nir.SumPool2d: _sum,
}
KINDS = frozenset({*_MAPS, nir.Flatten})
