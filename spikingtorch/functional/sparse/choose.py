"""Which calls skip zeros: the one place that decides, and says why the others are torch's own."""

import torch
from torch import Tensor

from spikingtorch.functional.core.modes import HOST, are_plain, in_eager, plain_keys
from spikingtorch.functional.core.torch_private import top_saving_hooks
from spikingtorch.functional.sparse.c_abi import failure
from spikingtorch.functional.sparse.operations import Layer

# dispatch keys of plain tensors where the kernels run
PLAIN = plain_keys(HOST.type)
# numbers of a tensor, which kernels count in 32 bits
_MOST = 2**31 - 2**16


def choose(layer: Layer) -> str | None:
    """Return why torch's own function computes a layer, as the rest of a sentence about it; None if kernels do.

    Weights that are not finite are found later, by the kernels: zero times infinity is no zero, and all of the layer is
    torch's then as well.
    """
    operation, x, weight, bias = layer
    if not in_eager():
        return "is compiled, traced, transformed by torch.func, watched by a mode or differentiated in forward mode"
    tensors = [x, weight] if bias is None else [x, weight, bias]
    if not are_plain(tensors, PLAIN):
        return "has a tensor that is no plain tensor on the CPU"
    if any([tensor.dtype != torch.float32 for tensor in tensors]):
        return f"has tensors that are not float32: {', '.join(sorted({str(tensor.dtype) for tensor in tensors}))}"
    if torch.is_autocast_enabled(HOST.type):
        return "is under autocast, which computes in half precision"
    misfit = operation.misfit(x, weight)
    if misfit is not None:
        return misfit
    if bias is not None and bias.shape != weight.shape[:1]:
        return f"has a bias of shape {tuple(bias.shape)} for weights of shape {tuple(weight.shape)}"
    return objection_to_sizes(layer)


def objection_within_networks(grad: bool) -> str | None:
    """Return why no layer of a network skips zeros here by itself, as the rest of a sentence about it.

    Args:
        grad: whether gradients are recorded where the network is called.
    """
    if top_saving_hooks(True) is not None:
        return "is under hooks on saved tensors, as in a checkpoint"
    if torch.is_grad_enabled() is not grad:  # a checkpoint's first run, perhaps; the second is not within the network
        return "is called where gradients are switched on or off"
    return "is to be deterministic as torch is" if torch.are_deterministic_algorithms_enabled() else None


def can_run(*tensors: Tensor) -> bool:
    """Say whether a backward pass may read these tensors with kernels, here and now, and is not differentiated."""
    return (
        not torch.is_grad_enabled()
        and in_eager()
        and are_plain(tensors, PLAIN)
        and all([tensor.dtype == torch.float32 for tensor in tensors])
    )


def objection_to_sizes(layer: Layer) -> str | None:
    """Return why kernels cannot take so few or so many numbers, or are not there, as the rest of a sentence."""
    inputs, weights = layer.x.numel(), layer.weight.numel()
    if inputs == 0 or weights == 0:
        return "has no inputs or no weights"
    s = layer.shape
    if max(inputs, weights, s.images * s.out_height * s.out_width * s.outputs) > _MOST:
        return f"has a tensor of more than {_MOST} numbers"
    missing = failure()
    return None if missing is None else f"has no kernel: {missing}"
