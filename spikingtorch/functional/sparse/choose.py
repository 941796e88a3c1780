"""Decide which calls skip zeros, and say why torch computes the others."""

from typing import Any

import torch
from torch import Tensor

from spikingtorch.functional.core.modes import HOST, are_plain, in_eager, plain_keys
from spikingtorch.functional.core.torch_private import top_saving_hooks
from spikingtorch.functional.sparse.c_abi import failure
from spikingtorch.functional.sparse.operations import Layer

# dispatch keys of plain tensors on the device of the kernels
PLAIN = plain_keys(HOST.type)
# the largest size of a tensor: kernels count in 32 bits
_MOST = 2**31 - 2**16


def choose(layer: Layer) -> str | None:
    """Return why torch's function computes a layer, as the rest of a sentence about it; None if kernels do.

    Kernels find weights that are not finite later: zero times infinity is not zero. Then torch computes the whole layer
    as well.
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


def objection_within_networks(grad: bool, hooks: Any = None) -> str | None:
    """Return why no layer of a network skips zeros automatically here, as the rest of a sentence about the network.

    ``grad`` says whether gradients are recorded outside of the call. ``hooks`` are the hooks on saved tensors of the
    network itself, whose second run takes the same way.
    """
    if top_saving_hooks(True) != hooks:
        return "is under hooks on saved tensors, as in a checkpoint"
    # possibly the first run of a checkpoint, whose second run is outside of the network's call
    if torch.is_grad_enabled() is not grad:
        return "is called where gradients are switched on or off"
    return "is to be deterministic as torch is" if torch.are_deterministic_algorithms_enabled() else None


def can_run(*tensors: Tensor) -> bool:
    """Return True if the running backward pass may use kernels on these tensors, and is not itself differentiated."""
    return (
        not torch.is_grad_enabled()
        and in_eager()
        and are_plain(tensors, PLAIN)
        and all([tensor.dtype == torch.float32 for tensor in tensors])
    )


def objection_to_sizes(layer: Layer) -> str | None:
    """Return why kernels are missing or cannot take this size, as the rest of a sentence."""
    inputs, weights = layer.x.numel(), layer.weight.numel()
    if inputs == 0 or weights == 0:
        return "has no inputs or no weights"
    s = layer.shape
    if max(inputs, weights, s.images * s.out_height * s.out_width * s.outputs) > _MOST:
        return f"has a tensor of more than {_MOST} numbers"
    missing = failure()
    return None if missing is None else f"has no kernel: {missing}"
