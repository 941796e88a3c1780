"""Handing init on: to layers that are called without it, and to modules in an ``nn.Sequential``, which hands on x."""

import inspect
from collections.abc import Iterable
from typing import Any

from torch import nn

from spikingtorch.layers.checkpoint import Recomputation, region
from spikingtorch.layers.fold_token import FoldToken


class Given:
    """The init of the network that runs, for one module that may be called without it.

    A copy, and what comes out of a pickle, has none.

    Attributes:
        init: of the step, or of the fold; None outside of a network.
    """

    def __init__(self) -> None:
        self.init: Any = None
        self._recomputed: Recomputation[Any] = Recomputation()

    def __reduce__(self) -> Any:
        return Given, ()

    def take(self) -> Any:
        """Return the init for a call; within a second run of ``checkpoint`` that of the first."""
        here = region()
        if here is None:
            return self.init
        if here.run is not None:  # by then, the call of the network is over
            return self._recomputed.next(here)
        # the token itself would keep the graph alive
        self._recomputed.note(here, self.init.copy() if isinstance(self.init, FoldToken) else self.init)
        return self.init


class handing:  # noqa: N801
    """Within it, whoever is called without init takes this one.

    Args:
        init: of the step, or of the fold.
        givens: of the modules of the network.
    """

    def __init__(self, init: Any, givens: Iterable[Given]) -> None:
        self.init = init
        self.givens = givens

    def __enter__(self) -> None:
        for given in self.givens:
            given.init = self.init

    def __exit__(self, *error: object) -> None:
        for given in self.givens:
            given.init = None


class InitHook:
    """A forward pre-hook that hands a module the init of the network, where its caller hands it none.

    Args:
        place: of ``init`` among the arguments of forward.
    """

    def __init__(self, place: int) -> None:
        self.given = Given()
        self._place = place

    def __call__(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the arguments of a call with init among them."""
        if "init" in kwargs or len(args) > self._place:
            return None
        init = self.given.take()
        return None if init is None else (args, {**kwargs, "init": init})


def givens_of(modules: Iterable[nn.Module]) -> list[Given]:
    """Return what hands init to modules of a network: of spiking layers, and of hooks."""
    found = []
    for module in modules:
        given = vars(module).get("_given")
        found += [given] if isinstance(given, Given) else []
        if module._forward_pre_hooks:
            found += [hook.given for hook in module._forward_pre_hooks.values() if isinstance(hook, InitHook)]
    return found


def hand_on(net: nn.Module) -> None:
    """Give a hook to each module in an ``nn.Sequential`` of a network whose forward takes init."""
    for parent in net.modules():
        if type(parent).forward is not nn.Sequential.forward:
            continue
        for child in parent.children():
            names = list(inspect.signature(child.forward).parameters)
            if "init" in names and not givens_of([child]):
                child.register_forward_pre_hook(InitHook(names.index("init")), with_kwargs=True)
