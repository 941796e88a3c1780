"""What torch makes of a scan on the device: transforms, compilers, checkpoints, autocast, and a second derivative."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from tests.fused import draw
from tests.gpu.device import DEVICE

T, N = 20, 13
Run = Callable[..., Any]
func: Any = torch.func


def run(x: Tensor, decay: Tensor, backend: Any = "auto") -> Tensor:
    """Return a number for each neuron that depends on the spikes and on the last membrane."""
    state, out = F.scan(F.lif_step, F.LIFState(torch.zeros_like(x[0])), x, params={"decay": decay}, backend=backend)
    weights: Tensor = (out * torch.linspace(0.5, 1.5, T, device=x.device, dtype=out.dtype)[:, None]).sum(0)
    return weights + state.v


def number(x: Tensor, decay: Tensor, backend: Any = "auto") -> Tensor:
    return run(x, decay, backend).sum()


def given(*batch: int) -> tuple[Tensor, Tensor]:
    x, decay = draw(*batch, T, N, low=-0.3, high=1.2), draw(*batch, N, low=0.5, high=0.95)
    return x.to(DEVICE), decay.to(DEVICE)


def grads(function: Run, x: Tensor, decay: Tensor) -> tuple[Tensor, ...]:
    leaves = [x.detach().clone().requires_grad_(), decay.detach().clone().requires_grad_()]
    return torch.autograd.grad(function(*leaves), leaves)


def of_loop(x: Tensor, decay: Tensor) -> Tensor:
    return number(x, decay, "loop")


TRANSFORMS: dict[str, Callable[[Any], Run]] = {
    "vmap": lambda backend: func.vmap(lambda x, d: run(x, d, backend)),
    "vmap of grad": lambda backend: func.vmap(func.grad(lambda x, d: number(x, d, backend), argnums=(0, 1))),
    "grad of vmap": lambda backend: func.grad(
        lambda x, d: func.vmap(lambda x, d: number(x, d, backend))(x, d).sum(), argnums=(0, 1)
    ),
    "vmap of vmap": lambda backend: func.vmap(
        lambda x, d: func.vmap(lambda k: run(x, k * d, backend))(torch.linspace(0.5, 1.0, 3, device=DEVICE).to(x))
    ),
    "jacrev": lambda backend: func.vmap(func.jacrev(lambda x, d: run(x, d, backend)[:3])),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(name: str) -> None:
    x, decay = given(4)
    assert_close(TRANSFORMS[name]("fused")(x, decay), TRANSFORMS[name]("loop")(x, decay), name)


def test_a_second_derivative() -> None:
    def twice(backend: str) -> tuple[Tensor, ...]:
        x, decay = (leaf.requires_grad_() for leaf in given())
        first = torch.autograd.grad(number(x, decay, backend), (x, decay), create_graph=True)
        return torch.autograd.grad(torch.cat([each.flatten() for each in first]).square().sum(), (x, decay))

    assert_close(twice("fused"), twice("loop"), "second derivative")


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


def test_checkpoint() -> None:
    def repeated(x: Tensor, decay: Tensor) -> Any:
        return checkpoint(number, x, decay, use_reentrant=False)

    assert_close(grads(repeated, *given()), grads(of_loop, *given()), "checkpoint")


def test_tensors_saved_elsewhere() -> None:
    def saved(x: Tensor, decay: Tensor) -> Tensor:
        with torch.autograd.graph.save_on_cpu():
            return number(x, decay)

    assert_close(grads(saved, *given()), grads(of_loop, *given()), "saved on the CPU")


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


def test_inference_mode() -> None:
    with torch.inference_mode():
        assert_close(run(*given(), "fused"), run(*given(), "loop"), "inference mode")
