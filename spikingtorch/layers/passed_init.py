"""Pass init to layers that are called without it, and to modules in an ``nn.Sequential``, which passes only x."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.frame import frame_of, init_and_running
from spikingtorch.validation import TakesInit, signature_of


class InitHook:
    """A forward pre-hook that passes a module the init of the network if its caller passes none."""

    def __init__(self, place: int) -> None:
        self._place = place  # the position of init among the arguments of forward

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ARG002
        """Return the arguments of a call with init among them."""
        if "init" in kwargs or len(args) > self._place:
            return None
        init, _ = init_and_running(self, frame_of(self), None)
        return None if init is None else (args, {**kwargs, "init": init})


def _check_handed(path: str, sequential: nn.Sequential) -> None:
    """Raise if a layer that returns a tuple precedes a module of torch or a layer of this library."""
    for (name, module), (after, taker) in pairwise(sequential.named_children()):
        before, first = _end(module, -1), _end(taker, 0)
        returns, room = getattr(before, "_returns", None), type(first).__module__
        # the user's own step may take a tuple
        takes_tensor = room.startswith(("torch.nn.", "spikingtorch.")) and not room.endswith(".steplayer")
        if isinstance(returns, tuple) and takes_tensor:
            layer, one = (f"{path}.{each}".removeprefix(".") for each in (name, after))
            raise TypeError(
                f"SpikingNet: {layer} is a {type(before).__name__} with returns={returns!r}, and an nn.Sequential "
                f"hands that tuple to {one}, a {type(first).__name__}, which takes a tensor. Leave returns out, or "
                "write a forward that takes the tuple apart"
            )


def _end(module: nn.Module, place: int) -> nn.Module:
    """Return the first or the last module that an ``nn.Sequential`` calls, at any depth."""
    while isinstance(module, nn.Sequential) and len(module):
        module = module[place]
    return module


def call(net: nn.Module, takes_init: TakesInit, x: Tensor, init: Any) -> Any:
    """Call a network on x, and pass init as its forward expects."""
    if takes_init == "second":
        return net(x, init)
    return net(x, init=init) if takes_init == "by name" else net(x)


def hooks_of(modules: Iterable[nn.Module]) -> list[InitHook]:
    """Return the hooks that pass init on to modules of a network."""
    found = [module.__dict__.get("_forward_pre_hooks") for module in modules]  # scripted modules have none
    return [hook for hooks in found if hooks for hook in hooks.values() if isinstance(hook, InitHook)]


def pass_init_on(net: nn.Module) -> None:
    """Give a hook to each module in an ``nn.Sequential`` of a network whose forward takes init.

    Raise TypeError if a module is scripted and takes no hook; or if a layer passes a tuple to one that takes a tensor.
    """
    for path, parent in net.named_modules():
        if isinstance(parent, torch.jit.ScriptModule) or not isinstance(parent, nn.Sequential):
            continue
        _check_handed(path, parent)
        for name, child in parent.named_children():
            names = list(signature_of(child).parameters)
            if "init" not in names or isinstance(child, StatefulLayer) or hooks_of([child]):
                continue
            if isinstance(child, torch.jit.ScriptModule):
                raise TypeError(
                    f"SpikingNet: module {f'{path}.{name}'.removeprefix('.')} of the network is scripted or traced and "
                    "its forward takes init. An nn.Sequential hands it x alone, and it takes no hooks that would hand "
                    "it more. Call it in a forward of your own: self.module(x, init)"
                )
            child.register_forward_pre_hook(InitHook(names.index("init")), with_kwargs=True)
