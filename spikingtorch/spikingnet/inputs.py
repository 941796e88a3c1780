"""Checks of what a SpikingNet is called on."""

from collections.abc import Sequence

from torch import Tensor, nn

from spikingtorch import validation as checks
from spikingtorch.fold.guard import parameter_of
from spikingtorch.functional.core.precision import autocast_dtype
from spikingtorch.layers.fold_token import FoldToken


def check_form(x: Tensor) -> None:
    """Raise unless x is a batch of sequences, (N, T, ...), of at least one step."""
    checks.check_floating("SpikingNet", "x", x)
    checks.check_rank("SpikingNet", "x", x, "(N, T, ...): samples, steps, features; an encoder adds the steps", 2)
    if x.shape[1] == 0:
        raise ValueError(f"SpikingNet: x has shape {tuple(x.shape)}, which has no steps; T must be 1 or more")


def check_start(init: object, x: Tensor) -> None:
    """Raise unless init says where sequences start: a bool, or a bool tensor of the samples."""
    if isinstance(init, FoldToken):  # of a network around this one
        init.refuse("hands init to a SpikingNet, which runs over time by itself", "call the net inside of it")
    checks.check_init("SpikingNet", init, x.shape[:1])


def check_input(x: Tensor, modules: Sequence[nn.Module]) -> None:
    """Raise where an input holds what cannot be computed with, or does not go with the network of these modules."""
    if x.is_cpu:  # elsewhere the host would wait for the device
        checks.check_finite("SpikingNet", "x", x)
    weight = parameter_of(modules)
    if weight is None:
        return
    if x.device != weight.device:
        raise ValueError(
            f"SpikingNet: x is on {x.device}, the network on {weight.device}. Move one of them with .to(device)"
        )
    if x.dtype != weight.dtype and autocast_dtype(x.device) is None:
        raise TypeError(f"SpikingNet: x is {x.dtype}, the network {weight.dtype}. Convert one of them with .to(dtype)")
