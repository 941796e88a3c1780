"""One layer in a network that is called again and again: what it gives folded and step by step, and what ran it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.functional.dispatch.folded import FoldedStep
from spikingtorch.testing import assert_close
from tests.drawn import uniform
from tests.every_layer import call
from tests.fold_nets import span, states

N, T, M = 3, 5, 6
IMAGES = (4, 2, 3)
CALLS = 5  # the first two at most find out how the others are run
# cotangents that are not written out
UNWRITTEN: dict[str, Callable[[Tensor], Tensor]] = {
    "negated": lambda pull: torch._neg_view(pull),  # pyright: ignore[reportPrivateImportUsage]
    "imaginary": lambda pull: torch.complex(pull, pull).conj().imag,
    "zero": lambda pull: torch._efficientzerotensor(pull.shape, dtype=pull.dtype),  # pyright: ignore
}


class Parts(nn.Module):
    """Modules and parameters by their names, and code that calls them."""

    def __init__(self, code: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.code = code
        for name, part in parts.items():
            setattr(self, name, part)


class Coded(Parts):
    """A network: ``code(network, x, init)``."""

    def forward(self, x: Tensor, init: Any) -> Any:
        return self.code(self, x, init)


class Lambda(Parts):
    """A module inside a network, which no init reaches: ``code(module, x)``."""

    def forward(self, x: Any) -> Any:
        return self.code(self, x)


class One(nn.Module):
    """A layer alone."""

    def __init__(self, layer: nn.Module, use: Callable[..., Tensor] = call) -> None:
        super().__init__()
        self.layer: Any = layer
        self.use = use

    def forward(self, x: Tensor, init: Any) -> Tensor:
        return self.use(self.layer, x, init)


def conducted(layer: Any, x: Tensor, init: Any) -> Tensor:
    """Call a BioLIF, whose inputs are not negative."""
    return layer(x.abs(), 0.3 * x.abs(), init)


def learning() -> st.StepLayer:
    """Return a layer whose parameters are all trained."""
    return st.LIF(decay=torch.tensor(0.8), v0=span(0.3, 0.6, M), learnable=True).double()


class Took:
    """How many scans were folded, and how many of these autograd knows of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.scans = self.trains = 0
        for name in ("run", "first"):
            monkeypatch.setattr(FoldedStep, name, self._counting(getattr(FoldedStep, name)))

    def _counting(self, run: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any) -> Any:
            found = run(*given)
            self.scans += found is not None
            self.trains += found is not None and found.outs[0].requires_grad
            return found

        return counted


def over_time(layer: nn.Module, *shape: int, use: Callable[..., Tensor] = call, **options: Any) -> st.SpikingNet:
    """Return a layer over time, folded unless another mode is asked for."""
    chosen: Any = {"mode": "fold", "warn_silent": False} | options
    return st.SpikingNet(One(layer, use), shape or (M,), **chosen)


def held(model: st.SpikingNet) -> Any:
    """Return the layer of ``over_time``."""
    return model.get_submodule("net.layer")


def draw(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return other numbers for each seed, (N, T, M) unless other sizes are given."""
    return uniform(*(shape or (N, T, M)), seed=seed, dtype=torch.float64).to(dtype)


def last(x: Tensor) -> Tensor:
    """Return (N, T, C, ...) whose images are channels-last."""
    return x.movedim(2, -1).contiguous().movedim(-1, 2)


def results(model: st.SpikingNet, x: Tensor, mode: Any, cotangent: Tensor | None = None) -> dict[str, Tensor]:
    """Return outputs, the gradients of x and of all parameters, and what the layers hold afterwards."""
    model.mode = mode
    out = model(x)
    model.mode = "fold"
    found = {"out": out.detach().clone(), **states(model)}
    leaves = {name: leaf for name, leaf in {"x": x, **dict(model.named_parameters())}.items() if leaf.requires_grad}
    if out.requires_grad:
        pull = draw(99, *out.shape).to(out) - 0.5 if cotangent is None else cotangent
        found |= zip(
            [f"d {name}" for name in leaves],
            torch.autograd.grad(out, list(leaves.values()), pull, materialize_grads=True, allow_unused=True),
            strict=True,
        )
    return found


def folds(model: st.SpikingNet, x: Tensor, cotangent: Tensor | None = None) -> None:
    """Assert that folded is step by step: outputs, states and gradients."""
    pair = results(model, x, "fold", cotangent), results(model, x, "step", cotangent)
    if x.dtype in (torch.float16, torch.bfloat16):
        torch.testing.assert_close(*pair, rtol=0.02, atol=0.02)
    else:
        assert_close(*pair)


def agrees(model: st.SpikingNet, x: Tensor, took: Took, cotangent: Tensor | None = None) -> bool:
    """Assert that folded is step by step, and say whether a scan was repeated."""
    before = took.scans
    got = results(model, x, "fold", cotangent)
    repeated = took.scans > before
    assert_close(got, results(model, x, "step", cotangent), f"{sorted(got)}")
    return repeated


def repeat(model: st.SpikingNet, took: Took, make: Callable[[int], Tensor] | None = None) -> None:
    """Call a model with other numbers each time, each of which its layer runs folded if it rests at zero."""
    layers = [each for each in model.modules() if isinstance(each, st.StepLayer)]
    taken = [agrees(model, make(k) if make else draw(k).requires_grad_(), took) for k in range(CALLS)]
    assert taken == [all(each._rests_at_zero for each in layers)] * CALLS, taken
