"""What torch makes of a scan on the device: transforms, checkpoints, compilers, export and autocast."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from tests.fused import draw
from tests.gpu.device import DEVICE, placed
from tests.ways import LOOP, MAPS, SCANS, WAYS

T, N = 11, 13
Run = Callable[..., Any]


def run(x: Tensor, decay: Tensor, backend: Any = "auto") -> Tensor:
    """Return a number for each neuron that depends on the spikes and on the last membrane."""
    state, out = F.scan(F.lif_step, F.LIFState(torch.zeros_like(x[0])), x, params={"decay": decay}, backend=backend)
    return (out * torch.linspace(0.5, 1.5, T, device=x.device, dtype=out.dtype)[:, None]).sum(0) + state.v


def number(x: Tensor, decay: Tensor, backend: Any = "auto") -> Tensor:
    return run(x, decay, backend).sum()


def given() -> tuple[Tensor, Tensor]:
    x, decay = draw(T, N, low=-0.3, high=1.2), draw(N, low=0.5, high=0.95)
    return x.to(DEVICE), decay.to(DEVICE)


def grads(function: Run, x: Tensor, decay: Tensor) -> tuple[Tensor, ...]:
    leaves = [x.detach().clone().requires_grad_(), decay.detach().clone().requires_grad_()]
    return torch.autograd.grad(function(*leaves), leaves)


def of_loop(x: Tensor, decay: Tensor) -> Tensor:
    return number(x, decay, "loop")


@pytest.mark.parametrize("way", [name for name, way in WAYS.items() if way.kernels != LOOP])
def test_every_way_is_the_loop(way: str) -> None:
    WAYS[way].agree(SCANS["leaky"], *placed(SCANS["leaky"].tensors()))


@pytest.mark.parametrize("way", MAPS)
@pytest.mark.parametrize("roles", ["x", "p", "sxp"])
def test_many_members_are_one_loop_for_each(roles: str, way: str) -> None:
    dims, *given = SCANS["leaky"].members(roles)
    MAPS[way].agree(SCANS["leaky"], dims, *placed(given))


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compile(backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own: inductor would find graphs again that it has compiled for the other target of a CPU."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    compiled = torch.compile(number, backend=backend, fullgraph=True)
    for scale in (1.0, 0.5):  # a second call of the same code
        x, decay = given()
        assert_close(compiled(scale * x, decay), of_loop(scale * x, decay), "compiled")
        assert_close(grads(compiled, scale * x, decay), grads(of_loop, scale * x, decay), "compiled, gradients")


def test_export() -> None:
    class Scan(torch.nn.Module):
        def forward(self, x: Tensor, decay: Tensor) -> Tensor:
            return number(x, decay)

    exported = torch.export.export(Scan(), given())
    assert "scan_exported" in str(exported.graph)
    assert_close(grads(exported.module(), *given()), grads(of_loop, *given()), "exported")


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16], ids=str)
def test_autocast(half: torch.dtype) -> None:
    """A layer in half precision in front; the neuron computes in float32, as the loop does."""
    torch.manual_seed(0)
    linear = torch.nn.Linear(N, N).to(DEVICE)
    x = given()[0].float()
    found = []
    for backend in ("fused", "loop"):
        with torch.autocast(DEVICE.type, dtype=half):
            out = run(linear(x), torch.full((N,), 0.9, device=DEVICE), backend)
        grad: Any = torch.autograd.grad(out.sum(), list(linear.parameters()))
        found.append([out.float().detach(), *grad])
    assert torch.equal(found[0][0], found[1][0])
    for got, want in zip(found[0][1:], found[1][1:], strict=True):
        assert (got - want).abs().max() <= 4 * torch.finfo(half).eps * want.abs().max()
