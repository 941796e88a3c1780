"""Convert a node without a state to nodes that a library's reader takes, with the same numbers."""

from typing import Any

import nir
import numpy as np

from spikingtorch.interop.nir.errors import NIRError
from spikingtorch.interop.nir.targets import Target

# they ignore a padding of zeros
_WITHOUT_PADDING = (nir.SumPool2d,)


def map_for_reader(node: Any, path: str, before: tuple[int, ...], target: Target) -> Any:
    """Return the node for a target.

    A factor for each entry becomes a diagonal matrix. Groups of a convolution become zeros in a full convolution. A
    pool that the reader leaves out becomes a convolution.

    Args:
        node: with the meaning of NIR.
        path: of its module, for messages.
        before: shape of its input for a sample.
        target: the library of the reader.

    Raises:
        NIRError: the reader does not compute it.
    """
    if isinstance(node, nir.Scale) and len(before) == 1:
        node = nir.Linear(weight=np.diag(np.broadcast_to(node.scale, before)))
    if isinstance(node, nir.Conv1d | nir.Conv2d) and int(node.groups) > 1:
        node = _without_groups(node)
    if isinstance(node, nir.AvgPool2d | nir.SumPool2d) and not _pools(node, target):
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


def _pools(node: Any, target: Target) -> bool:
    kept = type(node).__name__ in target.maps
    return kept and not (isinstance(node, _WITHOUT_PADDING) and bool(np.any(node.padding)))


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
