"""Checks of what a SpikingNet is called on."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spikingtorch import axes
from spikingtorch import validation as checks
from spikingtorch.fold.guard import parameter_of
from spikingtorch.foreign import kind_of_theirs, state_of_theirs
from spikingtorch.functional.core.precision import autocast_dtype
from spikingtorch.layers.fold_token import FoldToken


def check_form(x: Tensor, batch_first: bool) -> Tensor:
    """Return x as (N, T, ...); raise unless it is a batch of sequences of at least one step."""
    checks.check_floating("SpikingNet", "x", x)
    expected = f"{axes.named(batch_first)}: {axes.spelled(batch_first)}, features; an encoder adds the steps"
    checks.check_rank("SpikingNet", "x", x, expected, 2)
    if axes.sizes(x, batch_first)[1] == 0:
        raise ValueError(f"SpikingNet: x has shape {tuple(x.shape)}, which has no steps; T must be 1 or more")
    return axes.samples_first(x, batch_first)


def of_other_libraries(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the modules of a network that other libraries of spiking networks have made, and their names."""
    return [(path, module) for path, module in net.named_modules() if kind_of_theirs(module) is not None]


def check_others(others: Sequence[tuple[str, nn.Module]]) -> None:
    """Raise where a module of another library starts a sequence with the state of an earlier one.

    Raises:
        RuntimeError: it does.
    """
    for path, module in others:
        if not torch.compiler.is_compiling() and (found := state_of_theirs(module)) is not None:
            raise RuntimeError(f"SpikingNet: layer {path} is {found}")


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
