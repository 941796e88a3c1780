"""Handing init on: to layers that are called without it, and to modules in an ``nn.Sequential``, which hands on x."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from spikingtorch.layers.checkpoint import Recomputation, region
from spikingtorch.layers.fold_token import FoldToken
from spikingtorch.validation import TakesInit, signature_of


class PassedInit:
    """What a network that runs tells one of its modules about the step.

    A copy, and what comes out of a pickle, knows of none.

    Attributes:
        init: of the step, or of the fold; None outside of a network.
        running: which samples have not come to their end, (N,); None if all have not. A fold has its own.
    """

    def __init__(self) -> None:
        self.init: Any = None
        self.running: Tensor | None = None
        self._recomputed: Recomputation[Any] = Recomputation()

    def __reduce__(self) -> Any:
        return PassedInit, ()

    def take(self, init: Any) -> tuple[Any, Tensor | None]:
        """Return init for a call that may have been handed it, and which samples are running.

        Within a second run of ``checkpoint``, they are those of the first.
        """
        now, here = (self.init, self.running), region()
        if here is not None and here.run is not None and self.init is None:  # the call of the network is over
            now = self._recomputed.next(here)
        elif here is not None and here.run is None:
            # the token itself would keep the graph alive
            copied = self.init.copy() if isinstance(self.init, FoldToken) else self.init
            self._recomputed.note(here, (copied, self.running))
        return (now[0] if init is None else init), now[1]


class passing_init:  # noqa: N801
    """Within it, whoever is called without init takes this one.

    Args:
        init: of the step, or of the fold.
        givens: of the modules of the network.
        running: which samples have not come to their end.
    """

    def __init__(self, init: Any, passed_inits: Iterable[PassedInit], running: Tensor | None = None) -> None:
        self.init = init
        self.passed_inits = passed_inits
        self.running = running

    def __enter__(self) -> None:
        for given in self.passed_inits:
            given.init, given.running = self.init, self.running

    def __exit__(self, *error: object) -> None:
        for given in self.passed_inits:
            given.init = given.running = None


class InitHook:
    """A forward pre-hook that hands a module the init of the network, where its caller hands it none.

    Args:
        place: of ``init`` among the arguments of forward.
    """

    def __init__(self, place: int) -> None:
        self.given = PassedInit()
        self._place = place

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ARG002
        """Return the arguments of a call with init among them."""
        if "init" in kwargs or len(args) > self._place:
            return None
        init, _ = self.given.take(None)
        return None if init is None else (args, {**kwargs, "init": init})


def _check_handed(path: str, sequential: nn.Sequential) -> None:
    """Raise where a layer that returns a tuple stands before a module of torch's, or a layer of ours."""
    for (name, module), (after, taker) in pairwise(sequential.named_children()):
        before, first = _end(module, -1), _end(taker, 0)
        returns, room = getattr(before, "_returns", None), type(first).__module__
        # the input of a step of the user's may be a tuple
        takes_tensor = room.startswith(("torch.nn.", "spikingtorch.")) and not room.endswith(".steplayer")
        if isinstance(returns, tuple) and takes_tensor:
            layer, one = (f"{path}.{each}".removeprefix(".") for each in (name, after))
            raise TypeError(
                f"SpikingNet: {layer} is a {type(before).__name__} with returns={returns!r}, and an nn.Sequential "
                f"hands that tuple to {one}, a {type(first).__name__}, which takes a tensor. Leave returns out, or "
                "write a forward that takes the tuple apart"
            )


def _end(module: nn.Module, place: int) -> nn.Module:
    """Return the first or the last of the modules that an ``nn.Sequential`` calls, however deep."""
    while isinstance(module, nn.Sequential) and len(module):
        module = module[place]
    return module


def call(net: nn.Module, takes_init: TakesInit, x: Tensor, init: Any) -> Any:
    """Call a network on x, with init as its forward takes it."""
    if takes_init == "second":
        return net(x, init)
    return net(x, init=init) if takes_init == "by name" else net(x)


def passed_inits_of(modules: Iterable[nn.Module]) -> list[PassedInit]:
    """Return what hands init to modules of a network: of spiking layers, and of hooks."""
    found = []
    for module in modules:
        own = module.__dict__
        given = own.get("_passed_init")
        if given is not None and isinstance(given, PassedInit):
            found.append(given)
        if hooks := own.get("_forward_pre_hooks"):  # what is scripted has none
            found += [hook.given for hook in hooks.values() if isinstance(hook, InitHook)]
    return found


def pass_init_on(net: nn.Module) -> None:
    """Give a hook to each module in an ``nn.Sequential`` of a network whose forward takes init.

    Raises:
        TypeError: one of them is scripted, and takes no hook; or a layer in it hands a tuple to a module that takes a
            tensor.
    """
    for path, parent in net.named_modules():
        if isinstance(parent, torch.jit.ScriptModule) or not isinstance(parent, nn.Sequential):
            continue
        _check_handed(path, parent)
        for name, child in parent.named_children():
            names = list(signature_of(child).parameters)
            if "init" not in names or passed_inits_of([child]):
                continue
            if isinstance(child, torch.jit.ScriptModule):
                raise TypeError(
                    f"SpikingNet: module {f'{path}.{name}'.removeprefix('.')} of the network is scripted or traced and "
                    "its forward takes init. An nn.Sequential hands it x alone, and it takes no hooks that would hand "
                    "it more. Call it in a forward of your own: self.module(x, init)"
                )
            child.register_forward_pre_hook(InitHook(names.index("init")), with_kwargs=True)
