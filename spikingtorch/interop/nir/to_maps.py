"""Convert a module that is not a neuron, or the recurrent weights of a layer, to a node of NIR."""

from typing import Any

import nir
import numpy as np
from torch import Tensor, nn

from spikingtorch.functional import convolution, dense
from spikingtorch.interop.nir.errors import NIRError
from spikingtorch.interop.nir.model_graph import Op
from spikingtorch.interop.nir.modules import Scale


def node_of(op: Op) -> Any:
    """Return the node of a module that is not a neuron; raise NIRError if NIR has none."""
    module: Any = op.module
    match module:
        case nn.Linear(bias=None):
            return nir.Linear(weight=_array(module.weight))
        case nn.Linear():
            return nir.Affine(weight=_array(module.weight), bias=_array(module.bias))
        case nn.Conv1d() | nn.Conv2d() if module.padding_mode == "zeros":
            return _convolution(module, op.before[1:])
        case Scale():
            return nir.Scale(scale=_array(module.scale))
        case nn.Flatten():
            return _flatten(module, op)
        case nn.AvgPool2d() if not module.ceil_mode:
            return _pool(module, op)
    raise NIRError(
        f"{op.path!r} is a {module}, for which NIR has no node. There are Linear, Conv1d and Conv2d with zeros around "
        "them, AvgPool2d without ceil_mode, Flatten, and the neurons"
    )


def _convolution(module: Any, size: tuple[int, ...]) -> Any:
    bias = np.zeros(len(module.weight), _array(module.weight).dtype) if module.bias is None else _array(module.bias)
    options: dict[str, Any] = {
        "weight": _array(module.weight),
        "groups": module.groups,
        "bias": bias,
        "padding": module.padding if isinstance(module.padding, str) else _one_or_more(module.padding),
        "stride": _one_or_more(module.stride),
        "dilation": _one_or_more(module.dilation),
    }
    if len(size) == 1:
        return nir.Conv1d(input_shape=size[0], **options)
    return nir.Conv2d(input_shape=(size[0], size[1]), **options)


def _one_or_more(value: tuple[int, ...]) -> int | tuple[int, ...]:
    return value[0] if len(value) == 1 else value


def _flatten(module: nn.Flatten, op: Op) -> Any:
    start, end = module.start_dim, module.end_dim
    if start == 0:
        raise NIRError(f"{op.path!r} flattens the batch as well; start with axis 1")
    # torch counts the batch, NIR does not: axes counted from the end are the same for both, and for all readers
    start, end = (each - 1 - len(op.before) if each > 0 else each for each in (start, end))
    return nir.Flatten({"input": np.array(op.before)}, start, end)


def _pool(module: nn.AvgPool2d, op: Op) -> Any:
    def pair(value: Any) -> Any:
        return np.broadcast_to(np.asarray(value), (2,)).copy()

    kernel, padding = pair(module.kernel_size), pair(module.padding)
    options = {"kernel_size": kernel, "stride": pair(module.stride), "padding": padding}
    if module.divisor_override == 1:
        return nir.SumPool2d(**options)
    whole = module.divisor_override in (None, int(kernel.prod()))
    if whole and (module.count_include_pad or not padding.any()):
        return nir.AvgPool2d(**options)
    raise NIRError(
        f"{op.path!r} is a {module}, which divides by another number than the size of its window, unlike NIR"
    )


def recurrence_of(layer: Any, op: Op) -> Any:
    """Return the node of the recurrent weights of a layer; raise NIRError if NIR has none."""
    if layer.synapse is dense:
        if len(op.after) != 1:
            raise NIRError(
                f"layer {op.path!r} is recurrent through a matrix, and its neurons have shape {op.after}; NIR has "
                "matrices for neurons of one axis"
            )
        return nir.Linear(weight=_array(layer.recurrent.weight))
    if layer.synapse is convolution:
        if len(op.after) > 3:
            raise NIRError(f"layer {op.path!r} is recurrent through a Conv3d, for which NIR has no node")
        return _convolution(layer.recurrent, op.after[1:])
    return nir.Scale(scale=np.ascontiguousarray(np.broadcast_to(_array(layer.recurrent), op.after)))


def _array(tensor: Tensor) -> Any:
    return tensor.detach().cpu().numpy().copy()
