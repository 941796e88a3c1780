"""Convert what is not a neuron to a node of NIR: a module, or the recurrent weights of a layer; and for a reader."""

from typing import Any

import nir
import numpy as np
from torch import Tensor, nn

from spikingtorch.functional import convolution, dense
from spikingtorch.functional.recurrent import delayed_dense
from spikingtorch.interop.nir.errors import NIRError
from spikingtorch.interop.nir.modules import Scale
from spikingtorch.interop.nir.targets import Target
from spikingtorch.step_graph.recorder import Call


def node_of(op: Call) -> Any:
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


def _flatten(module: nn.Flatten, op: Call) -> Any:
    start, end = module.start_dim, module.end_dim
    if start == 0:
        raise NIRError(f"{op.path!r} flattens the batch as well; start with axis 1")
    # torch counts the batch, NIR does not: axes counted from the end are the same for both, and for all readers
    start, end = (each - 1 - len(op.before) if each > 0 else each for each in (start, end))
    return nir.Flatten({"input": np.array(op.before)}, start, end)


def _pool(module: nn.AvgPool2d, op: Call) -> Any:
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


def recurrence_of(layer: Any, op: Call) -> Any:
    """Return the node of the recurrent weights of a layer; raise NIRError if NIR has none."""
    if layer.synapse is delayed_dense:
        raise NIRError(
            f"layer {op.path!r} delays the spikes that come back to it, {layer.recurrent}, for which NIR has no node; "
            "recurrent=nn.Linear(...) has one"
        )
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


def map_for_reader(node: Any, path: str, before: tuple[int, ...], target: Target) -> Any:
    """Return the node for a target; raise NIRError if its reader does not compute it.

    A factor for each entry becomes a diagonal matrix. Groups of a convolution become zeros in a full convolution. A
    pool that the reader leaves out becomes a convolution. For messages, ``path`` names the module of the node, whose
    input has the shape ``before`` for a sample.
    """
    if isinstance(node, nir.Scale) and len(before) == 1:
        node = nir.Linear(weight=np.diag(np.broadcast_to(node.scale, before)))
    if isinstance(node, nir.Conv1d | nir.Conv2d) and int(node.groups) > 1:
        node = _without_groups(node)
    # readers leave out the padding of a SumPool2d
    padded = isinstance(node, nir.SumPool2d) and np.any(node.padding)
    if isinstance(node, nir.AvgPool2d | nir.SumPool2d) and (padded or type(node).__name__ not in target.maps):
        node = _pool_as_convolution(node, before)
    if isinstance(node, nir.Linear) and "Linear" not in target.maps:
        node = nir.Affine(weight=node.weight, bias=np.zeros(len(node.weight), node.weight.dtype))
    if type(node).__name__ not in target.maps:
        listed = ", ".join(sorted(target.maps | {"AvgPool2d", "Linear"}))
        raise NIRError(
            f"{path!r} becomes a node {type(node).__name__} of NIR, which {target.reader} does not compute; it takes "
            f"{listed}"
        )
    return node


def _without_groups(node: Any) -> Any:
    """Return a convolution in which each output takes all inputs, with zero weights for other groups."""
    weight, groups = np.asarray(node.weight), int(node.groups)
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]
    whole = np.zeros((weight.shape[0], inputs * groups, *weight.shape[2:]), weight.dtype)
    for group in range(groups):
        rows, columns = (slice(group * size, (group + 1) * size) for size in (outputs, inputs))
        whole[rows, columns] = weight[rows]
    options = {name: getattr(node, name) for name in ("input_shape", "bias", "stride", "padding", "dilation")}
    return type(node)(weight=whole, groups=1, **options)


def _pool_as_convolution(node: Any, before: tuple[int, ...]) -> nir.Conv2d:
    """Return a pool as a convolution of each channel."""
    channels, *size = before
    kernel, stride, padding = (
        tuple(int(each) for each in values) for values in (node.kernel_size, node.stride, node.padding)
    )
    share = 1.0 / (kernel[0] * kernel[1]) if isinstance(node, nir.AvgPool2d) else 1.0
    weight = np.eye(channels, dtype=np.float32)[:, :, None, None] * np.full(kernel, share, np.float32)
    return nir.Conv2d(
        input_shape=(size[0], size[1]),
        weight=weight,
        stride=(stride[0], stride[1]),
        padding=(padding[0], padding[1]),
        dilation=(1, 1),
        groups=1,
        bias=np.zeros(channels, np.float32),
    )
