"""A network with holes for whatever must not fold, code to put there, and an input for it."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import spikingtorch as st

Hole = Callable[[Any, Tensor, Any], Tensor]


def nothing(net: Any, x: Tensor, init: Any) -> Tensor:
    return x


class Two(nn.Module):
    """Two linear and two spiking layers, and room for code before, between and after them."""

    def __init__(
        self, before: Hole = nothing, between: Hole = nothing, after: Hole = nothing, **attributes: Any
    ) -> None:
        super().__init__()
        self.l1: Any = nn.Linear(4, 6)
        self.l2: Any = nn.Linear(6, 3)
        self.sl1: Any = st.LIF(v0=0.3)
        self.sl2: Any = st.LIF(v0=0.2)
        self.before = before
        self.between = between
        self.after = after
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x: Tensor, init: Any) -> Tensor:
        x = self.before(self, x, init)
        s = self.between(self, self.sl1(self.l1(x), init), init)
        return self.after(self, self.sl2(self.l2(s), init), init)


class Own(Two):
    """The layers of ``Two`` with other code around them."""

    def __init__(self, code: Hole, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.code = code

    def forward(self, x: Tensor, init: Any) -> Tensor:
        return self.code(self, x, init)


def readout(code: Hole = nothing, **holes: Any) -> Two:
    """Return a network whose output tells small differences apart."""
    return Two(code, **({"sl1": st.LI(), "sl2": st.LI()} | holes))


def with_l1(change: Callable[[Any], object]) -> Two:
    """Return a network to whose first layer something has been done."""
    net = Two()
    change(net.l1)
    return net


def with_backward(backward: Callable[..., Any], forward: Callable[[Tensor], Tensor] = lambda x: x.view_as(x)) -> Any:
    """Return a function with a backward pass of its own, the identity unless another one is given."""

    class Own(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return forward(x)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return backward(*grads)

    return lambda x: Own.apply(x)  # type: ignore[no-untyped-call]


def centred(x: Tensor) -> Tensor:
    return x - x.mean(0)


def through(net: Any, x: Tensor, init: Any) -> Tensor:
    """Call a module of the network."""
    return net.module(x)


def besides(effect: Callable[[Any, Tensor], object]) -> Hole:
    """Return code that leaves x alone, and does something else to the network."""

    def code(net: Any, x: Tensor, init: Any) -> Tensor:
        effect(net, x)
        return x

    return code


def parameter(*shape: int, value: float = 0.0) -> nn.Parameter:
    return nn.Parameter(torch.full(shape, value))


def put(path: str, value: Any) -> Callable[[Any], None]:
    """Return what sets an attribute of a network, or of a module in it."""
    owner, _, name = path.rpartition(".")
    return lambda net: setattr(net.get_submodule(owner), name, value)


def in_both_modes(net: nn.Module, act: Callable[[Any], Any]) -> str:
    """Assert that something done with a network over time is the same as with its steps, and return how it ran."""
    step, auto = (st.SpikingNet(copy.deepcopy(net), 3, mode=mode) for mode in ("step", "auto"))
    want = act(step)
    torch.testing.assert_close(act(auto), want)
    return auto.explain().mode


def train(N: int = 5, T: int = 7, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(N, T, 4, generator=torch.Generator().manual_seed(1), dtype=dtype)
