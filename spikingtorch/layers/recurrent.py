"""The recurrent weights of a layer: the valid modules and tensors, and the synapse of each."""

from collections.abc import Callable
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn

from spikingtorch import functional as F
from spikingtorch import validation as checks
from spikingtorch.functional.core.torch_private import is_shard
from spikingtorch.functional.recurrent import delayed_dense
from spikingtorch.layers.delayed_recurrence import DelayedRecurrence

Weights: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | Tensor
Synapse: TypeAlias = Callable[[Any, Tensor], Tensor]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_FORWARDS = {kind.forward for kind in (nn.Linear, *_CONVOLUTIONS)}
_EXPECTED = (
    "nn.Linear(M, M, bias=False), a convolution such as nn.Conv2d(C, C, 3, padding='same', bias=False), or a tensor "
    "that broadcasts to the neurons"
)


def synapse_of(owner: str, recurrent: Weights, name: str = "recurrent", *, biased: bool = False) -> Synapse:
    """Return the synapse of recurrent weights, which ``biased`` allows to have a bias.

    Raise TypeError if they are of another kind, ValueError if their output has another shape than the layer's neurons,
    or if they are computed from other weights.
    """
    if isinstance(recurrent, Tensor):
        checks.check_floating(owner, name, recurrent)
        if recurrent.requires_grad and not isinstance(recurrent, nn.Parameter):
            raise ValueError(
                f"{owner}: {name} requires a gradient but is no nn.Parameter, and the layer would train a copy. "
                "Wrap it in nn.Parameter; compute it from others with torch.nn.utils.parametrize: a mask, which prune "
                "applies in a hook, is a parametrization too"
            )
        return F.per_channel
    if not isinstance(recurrent, (nn.Linear, *_CONVOLUTIONS)):
        raise TypeError(f"{owner}: {name} is a {type(recurrent).__name__}, expected {_EXPECTED}")
    _check_module(owner, recurrent, name, biased)
    if isinstance(recurrent, nn.Linear):
        ins, outs = recurrent.in_features, recurrent.out_features
    else:
        ins, outs = recurrent.in_channels, recurrent.out_channels
    if ins != outs:
        raise ValueError(f"{owner}: {name}={recurrent} leads from {ins} to {outs}; both have to be the layer's own")
    if isinstance(recurrent, DelayedRecurrence):
        return delayed_dense
    return F.dense if isinstance(recurrent, nn.Linear) else F.convolution


def weight_of(
    owner: str, recurrent: nn.Module | Tensor | None, name: str = "recurrent", *, biased: bool = False
) -> Tensor:
    """Return the weights of a synapse; a module's weight is read, and the module is not called.

    Raise ValueError if calling the module would do more than multiply by its weights, and add a bias if ``biased``; or
    if it would gather them first.
    """
    if not isinstance(recurrent, nn.Module):
        assert recurrent is not None
        return recurrent
    _check_module(owner, recurrent, name, biased)
    weight: Any = recurrent.weight
    if is_shard(weight):
        raise ValueError(
            f"{owner}: this process has a part of the weight of {name}={recurrent}, and the layer reads the weight "
            f"without calling {name}, so that nothing gathers it. Shard the layer that holds it: fully_shard(layer), "
            f"without fully_shard(layer.{name}); parallelize_module cannot split it"
        )
    return cast(Tensor, weight)


def _check_module(owner: str, recurrent: Any, name: str, biased: bool) -> None:
    if recurrent.bias is not None and not biased:
        raise ValueError(
            f"{owner}: {name}={recurrent} has a bias, which is an input that never changes; leave it to the layer "
            "before this one, with bias=False here"
        )
    if isinstance(recurrent, _CONVOLUTIONS) and not _keeps_size(recurrent):
        raise ValueError(
            f"{owner}: {name}={recurrent} changes the size of its image, or skips parts of it; expected an odd "
            "kernel, padding='same' with zeros, stride 1 and dilation 1"
        )
    if "forward" in recurrent.__dict__ or type(recurrent).forward not in _FORWARDS:
        raise ValueError(
            f"{owner}: {name}={recurrent} has a forward of its own, and the layer reads its weight alone. Compute "
            "the weight from others with torch.nn.utils.parametrize, or write the recurrence as a step"
        )
    for hook in recurrent._forward_pre_hooks.values():
        if type(hook).__module__.startswith("torch.nn.utils."):  # other hooks would only observe a call
            raise ValueError(
                f"{owner}: {name}={recurrent} computes its weight in a hook ({type(hook).__name__}), and the layer "
                "reads its weight without calling it. torch.nn.utils.parametrizations has weight_norm and "
                "spectral_norm without hooks, and a mask is a parametrization too; prune.remove keeps a pruned weight"
            )


def _keeps_size(convolution: Any) -> bool:
    """Return whether a convolution has an output for each entry of its image, with zeros around it."""
    sizes, padding = convolution.kernel_size, convolution.padding
    same = padding == "same" or list(padding) == [size // 2 for size in sizes]
    plain = {*convolution.stride, *convolution.dilation} == {1} and convolution.padding_mode == "zeros"
    return same and plain and all(size % 2 for size in sizes)


def trained(recurrent: Weights | None) -> Weights | None:
    """Return recurrent weights as a module stores them for training."""
    if isinstance(recurrent, Tensor) and not isinstance(recurrent, nn.Parameter):
        return nn.Parameter(recurrent.detach().clone())  # a copy: two layers made from one tensor share nothing
    return recurrent


def check_weight(owner: str, synapse: Synapse, weight: Tensor, shape: torch.Size, name: str = "recurrent") -> None:
    """Raise unless weights fit neurons of a shape, whose first axis is the batch."""
    if synapse is F.per_channel:
        checks.check_broadcast(owner, name, weight, shape)
        return
    axis = 1 - weight.ndim  # of what the weights lead back to
    if len(shape) <= -axis or shape[axis] != weight.shape[0]:
        what = "features, the last axis" if synapse in (F.dense, delayed_dense) else f"channels, axis {axis}"
        after = "".join([f", {name}" for name in "DHW"[4 + axis :]])
        raise ValueError(
            f"{owner}: {name} leads back to {weight.shape[0]} {what}, and the input has shape {tuple(shape)}, "
            f"expected (N, ..., {weight.shape[0]}{after}), samples first"
        )
