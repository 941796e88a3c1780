"""A network with holes for whatever must not fold, code to put there, and runs of it in two modes."""

import copy
import random
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.fold.policy import Mode

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


def with_l1(change: Callable[[Any], object]) -> Two:
    """Return a network to whose first layer something has been done."""
    net = Two()
    change(net.l1)
    return net


def centred(x: Tensor) -> Tensor:
    return x - x.mean(0)


def through(net: Any, x: Tensor, init: Any) -> Tensor:
    """Call a module of the network."""
    out: Tensor = net.module(x)
    return out


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


class Run(NamedTuple):
    outputs: list[Tensor]
    gradients: list[tuple[Tensor, ...]]
    warned: list[str]
    model: st.SpikingNet


def train(N: int = 5, T: int = 7, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(N, T, 4, generator=torch.Generator().manual_seed(1), dtype=dtype)


def run(net: nn.Module, mode: Mode, x: Tensor, *, calls: int = 3, seed: int = 0) -> Run:
    """Call a copy of a network several times, with a cotangent of its own each time."""
    model = st.SpikingNet(copy.deepcopy(net), 3, mode=mode)
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)
    found = Run([], [], [], model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for call in range(calls):
            leaves = [x.clone().requires_grad_(), *(leaf for leaf in model.parameters() if leaf.requires_grad)]
            out = model(leaves[0])
            found.outputs.append(out.detach().clone())
            cotangent = torch.randn(out.shape, generator=torch.Generator().manual_seed(call), dtype=torch.float64)
            if out.requires_grad:
                options = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
                found.gradients.append(torch.autograd.grad(out, leaves, cotangent.to(out), **options))
    return found._replace(warned=[str(warning.message) for warning in caught])


def differences(got: Run, want: Run, tolerance: float = 0.0) -> list[str]:
    """Return what two runs do not agree in."""

    def differ(a: Tensor, b: Tensor, scale: float = 1.0) -> bool:
        return not torch.allclose(a, b, rtol=0.0, atol=tolerance * scale, equal_nan=True)

    pairs = zip(got.outputs, want.outputs, strict=True)
    found = [f"output of call {call}" for call, (a, b) in enumerate(pairs) if differ(a, b)]
    for call, (few, more) in enumerate(zip(got.gradients, want.gradients, strict=True)):
        scale = max(float(b.abs().max()) for b in more)
        grads = enumerate(zip(few, more, strict=True))
        found += [f"gradient {index} of call {call}" for index, (a, b) in grads if differ(a, b, scale)]
    return found
