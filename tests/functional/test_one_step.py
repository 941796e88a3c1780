"""One step, as layers take it that are called step by step: by a kernel where there are many neurons."""

import importlib
from typing import Any

import pytest
import torch
from torch import Tensor

import spikingtorch.functional as F
from spikingtorch.functional.fused.runtime.executable import Executable
from spikingtorch.functional.scan import one_step
from tests.noted import calls_of

scan: Any = importlib.import_module("spikingtorch.functional.scan")
PARAMS = {"decay": 0.9}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What has run: kernels, and looks at what is to run."""
    found: list[str] = []
    for owner, name, what in ((Executable, "forward", "kernel"), (scan, "choose", "look")):
        calls_of(monkeypatch, owner, name, lambda *_, what=what: found.append(what))
    return found


def steps(step: Any, state: Any, xs: Tensor, params: dict[str, Any]) -> tuple[list[Tensor], Tensor]:
    """Return the outputs of three steps with the last membrane, and the gradient of the inputs."""
    outs: list[Tensor] = []
    for x in xs:
        state, out = one_step(step, state, x, params, check=not outs)
        outs.append(out)
    torch.manual_seed(1)
    total: Any = sum((torch.randn(out.shape) * out).sum() for out in (*outs, state.v))
    return [*outs, state.v], torch.autograd.grad(total, xs)[0]


def reference(step: Any, state: Any, xs: Tensor, params: dict[str, Any]) -> tuple[list[Tensor], Tensor]:
    final, outs = F.scan(step, state, xs, params=params, backend="loop")
    torch.manual_seed(1)
    found = [*outs.unbind(), final.v]
    total: Any = sum((torch.randn(out.shape) * out).sum() for out in found)
    return found, torch.autograd.grad(total, xs)[0]


@pytest.mark.parametrize("neurons", [2047, 2048])
def test_many_neurons_take_a_kernel(neurons: int, calls: list[str]) -> None:
    torch.manual_seed(0)
    xs, rest = (2 * torch.rand(3, 1, neurons)).requires_grad_(), F.LIFState(torch.zeros(1, neurons))
    got = steps(F.lif_step, rest, xs, PARAMS)
    assert calls.count("kernel") == (3 if neurons >= 2048 else 0)
    want = reference(F.lif_step, rest, xs, PARAMS)
    assert all(map(torch.equal, got[0], want[0]))
    torch.testing.assert_close(got[1], want[1])  # the slope of the surrogate may differ in the last digit


def mean_step(state: F.LIFState, x: Tensor) -> tuple[F.LIFState, Tensor]:
    """A membrane that all neurons share in, which no kernel knows."""
    v = 0.5 * state.v + x
    return F.LIFState(v), (v - v.mean()).sin()


def test_what_no_kernel_knows_is_looked_at_once(calls: list[str]) -> None:
    xs, rest = torch.rand(3, 2, 4096, requires_grad=True), F.LIFState(torch.zeros(2, 4096))
    with pytest.warns(RuntimeWarning, match=r"aten\.mean"):
        got = steps(mean_step, rest, xs, {})
    assert calls == ["look"]
    want = reference(mean_step, rest, xs, {})
    torch.testing.assert_close(got, want, rtol=0.0, atol=0.0)


def test_a_product_is_computed_apart(calls: list[str]) -> None:
    state = F.RecurrentState(F.LIFState(torch.zeros(64, 64)), torch.zeros(64, 64))
    params = {"decay": 0.9, "recurrent_weight": torch.randn(64, 64) / 8}
    step: Any = F.Recurrent(F.lif_step)
    one_step(step, state, torch.rand(64, 64), params, check=True)
    assert not calls


def test_channels_last_images_stay_channels_last(calls: list[str]) -> None:
    x = torch.rand(4, 8, 9, 10).to(memory_format=torch.channels_last)
    state, out = one_step(F.lif_step, F.LIFState(torch.zeros_like(x)), x, PARAMS, check=True)
    assert calls.count("kernel") == 1
    assert x.stride() == out.stride() == state.v.stride()
    want = F.lif_step(F.LIFState(torch.zeros_like(x)), x, decay=0.9)
    assert torch.equal(out, want[1])
    assert torch.equal(state.v, want[0].v)
