"""Checks of the inputs of a SpikingNet."""

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from spikingtorch import axes
from spikingtorch import validation as checks
from spikingtorch.fold.guard import first_parameter
from spikingtorch.foreign import in_multi_step, kind_of_theirs, several_steps_in, state_of_theirs
from spikingtorch.functional.core.precision import autocast_dtype
from spikingtorch.layers.fold_token import FoldToken


def check_exporter(mode: str) -> None:
    """Raise RuntimeError inside ``torch.onnx.export``, which would write a fixed number of steps, or a broken file."""
    if _exports_to_onnx() and (mode != "step" or not torch.compiler.is_exporting()):
        raise RuntimeError(
            "SpikingNet: torch.onnx.export does not know the loop over time. Take "
            "spikingtorch.interop.onnx.export(model, x, path), which writes it for any number of steps"
        )


def _exports_to_onnx() -> bool:
    frame: Any = sys._getframe()
    while frame is not None and not frame.f_globals.get("__name__", "").startswith("torch.onnx."):
        frame = frame.f_back
    return frame is not None


# a constant to torch.compile
_exports_to_onnx._dynamo_marked_constant = True  # type: ignore[attr-defined]


def check_form(x: Tensor, batch_first: bool) -> Tensor:
    """Return x as (N, T, ...); raise unless it is a batch of sequences of at least one step."""
    checks.check_floating("SpikingNet", "x", x)
    if x.ndim < 2:
        expected = f"{axes.named(batch_first)}: {axes.spelled(batch_first)}, features; an encoder adds the steps"
        checks.check_rank("SpikingNet", "x", x, expected, 2)
    if axes.sizes(x, batch_first)[1] == 0:
        raise ValueError(f"SpikingNet: x has shape {tuple(x.shape)}, which has no steps; T must be 1 or more")
    return axes.samples_first(x, batch_first)


def of_other_libraries(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the modules of a network that come from other spiking libraries, and their names."""
    return [(path, module) for path, module in net.named_modules() if kind_of_theirs(module) is not None]


class first_calls_of:  # noqa: N801
    """A context in which a module of another library must not start from the state of an earlier sequence.

    Only its first call is checked; before it, the network's own code may reset the module, or pass it a state. Raise
    RuntimeError if it starts from an old state, and ValueError if it takes all steps of a sequence at once.
    """

    def __init__(self, others: Sequence[tuple[str, nn.Module]]) -> None:
        self._others, self._hooks = others, dict[nn.Module, Any]()

    def __enter__(self) -> None:
        for path, module in self._others:
            if (title := in_multi_step(module)) is not None:
                raise ValueError(
                    f"SpikingNet: layer {path} is {title} in step mode 'm', which takes all steps, (T, N, ...). A "
                    "SpikingNet runs over time by itself: spikingjelly.activation_based.functional.set_step_mode(net, "
                    "'s')"
                )
            self._hooks[module] = module.register_forward_pre_hook(partial(self._look, path), with_kwargs=True)

    def __exit__(self, *error: object) -> None:
        for hook in self._hooks.values():
            hook.remove()

    def _look(self, path: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        self._hooks[module].remove()
        handed = [each for each in (*args, *kwargs.values()) if each is not None]
        if handed and isinstance(handed[0], Tensor) and (taken := several_steps_in(module, handed[0])) is not None:
            raise ValueError(f"SpikingNet: layer {path} is {taken}")
        if len(handed) < 2 and (found := state_of_theirs(module)) is not None:
            raise RuntimeError(f"SpikingNet: layer {path} is {found}")


def check_start(init: object, x: Tensor) -> None:
    """Raise unless init is a bool, or a bool tensor with one value per sample."""
    if isinstance(init, FoldToken):  # the token of a network around this one
        init.refuse("hands init to a SpikingNet, which runs over time by itself", "call the net inside of it")
    checks.check_init("SpikingNet", init, x.shape[:1])


def check_input(x: Tensor, modules: Sequence[nn.Module], eager: bool = False) -> None:
    """Raise if an input has invalid values, or another device or dtype than the weights of the modules."""
    if x.is_cpu:  # on another device, the host would have to wait
        checks.check_finite("SpikingNet", "x", x, eager)
    owner, weight = first_parameter(modules)
    # fully_shard casts and moves by itself: the weights of a module, and what the module is handed
    if weight is None or "_is_fsdp_managed_module" in vars(owner):
        return
    if x.device != weight.device:
        raise ValueError(
            f"SpikingNet: x is on {x.device}, the network on {weight.device}. Move one of them with .to(device)"
        )
    if x.dtype != weight.dtype and autocast_dtype(x.device) is None:
        raise TypeError(f"SpikingNet: x is {x.dtype}, the network {weight.dtype}. Convert one of them with .to(dtype)")
