"""A network with holes for whatever must not fold, and runs of it in two modes."""

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

    inner: Any
    hidden: Any
    sl3: Any
    temperature: float

    def __init__(
        self, before: Hole = nothing, between: Hole = nothing, after: Hole = nothing, **attributes: Any
    ) -> None:
        super().__init__()
        self.l1 = nn.Linear(4, 6)
        self.l2 = nn.Linear(6, 3)
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


class Run(NamedTuple):
    outputs: list[Tensor]
    gradients: list[tuple[Tensor | None, ...]]
    warned: list[str]
    model: st.SpikingNet


def train(N: int = 5, T: int = 7, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(N, T, 4, generator=torch.Generator().manual_seed(1), dtype=dtype)


def run(net: nn.Module, mode: Mode, x: Tensor, *, calls: int = 3, seed: int = 0, x_grad: bool = True) -> Run:
    """Call a copy of a network several times, with a cotangent of its own each time."""
    model = st.SpikingNet(copy.deepcopy(net), 3, mode=mode)
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)
    outputs: list[Tensor] = []
    gradients: list[tuple[Tensor | None, ...]] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for call in range(calls):
            given = x.clone().requires_grad_(x_grad)
            out = model(given)
            outputs.append(out.detach().clone())
            leaves = [leaf for leaf in (given, *model.parameters()) if leaf.requires_grad]
            cotangent = torch.randn(out.shape, generator=torch.Generator().manual_seed(call), dtype=torch.float64)
            if out.requires_grad:
                found = torch.autograd.grad(out, leaves, cotangent.to(out), retain_graph=True, allow_unused=True)
                gradients.append(found)
    return Run(outputs, gradients, [str(warning.message) for warning in caught], model)


def differences(got: Run, want: Run, tolerance: float = 0.0) -> list[str]:
    """Return what two runs do not agree in."""
    found: list[str] = []
    for call, (a, b) in enumerate(zip(got.outputs, want.outputs, strict=True)):
        if not torch.allclose(a, b, rtol=0.0, atol=tolerance, equal_nan=True):
            found.append(f"output of call {call}")
    for call, (few, more) in enumerate(zip(got.gradients, want.gradients, strict=True)):
        scale = max((float(b.abs().max()) for b in more if b is not None), default=0.0)
        for index, (one, other) in enumerate(zip(few, more, strict=True)):
            zero = torch.zeros(())
            a, b = zero if one is None else one, zero if other is None else other
            if not torch.allclose(a, b.to(a.dtype), rtol=0.0, atol=tolerance * scale, equal_nan=True):
                found.append(f"gradient {index} of call {call}")
    return found
