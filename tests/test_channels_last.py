"""Channels-last images stay channels-last through a scan and a folded network, and give the same numbers."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.functional.fused.runtime.memory_format import memory_format_of
from spikingtorch.testing import assert_close
from tests.caches import forget

N, C, H, W = 3, 5, 4, 7


@pytest.fixture(autouse=True)
def afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch)


def images(T: int, *, last: bool = True, seed: int = 0) -> Tensor:
    """Return (N, T, C, H, W), the images channels-last."""
    drawn = torch.rand(N * T, C, H, W, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    kind = torch.channels_last if last else torch.contiguous_format
    steps: Tensor = drawn.contiguous(memory_format=kind).unflatten(0, (N, T))
    return steps


def is_channels_last(x: Tensor) -> bool:
    return x.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


def results(backend: Any, T: int, *, last_cotangent: bool) -> list[Tensor]:
    x = images(T).requires_grad_()
    v = images(1, seed=1)[:, 0].contiguous().requires_grad_()
    decay = torch.linspace(0.5, 0.9, C, dtype=torch.float64).reshape(C, 1, 1).requires_grad_()
    threshold = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    params = {"decay": decay, "threshold": threshold}
    state, out = F.scan(F.lif_step, F.LIFState(v), x, params=params, dim=1, backend=backend)
    cotangents = [images(1, seed=2)[:, 0], images(T, last=last_cotangent, seed=3)]
    grads = torch.autograd.grad([state.v, out], [x, v, decay, threshold], cotangents)
    if backend == "fused":
        assert is_channels_last(out)
        assert is_channels_last(grads[0])
    return [leaf.detach() for leaf in (state.v, out, *grads)]


@pytest.mark.parametrize("T", [1, 4, 20])
@pytest.mark.parametrize("last_cotangent", [False, True])
def test_scan(T: int, last_cotangent: bool) -> None:
    want = results("loop", T, last_cotangent=last_cotangent)
    for _ in range(3):  # anew, and as it was prepared
        assert_close(results("fused", T, last_cotangent=last_cotangent), want)


def test_other_orders_of_memory_come_out_contiguous() -> None:
    plain = images(4, last=False)
    for x in (plain, plain.transpose(3, 4), plain.transpose(2, 3), plain[..., ::2], images(4)[:, :, :1]):
        assert memory_format_of([x], 1) is None
        out = F.scan(F.if_step, F.IFState(torch.zeros_like(x[:, 0])), x, dim=1, backend="fused")[1]
        assert out.is_contiguous()
    assert memory_format_of([images(4)], 1) is not None
    assert memory_format_of([images(4), plain[:, :, :1]], 1) is None


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, C, 3, padding=1)
        self.spikes = st.LIF(tau=3.0, v0=0.3, learnable="tau")
        self.second = nn.Conv2d(C, 6, 3)
        self.more = st.IF(v0=0.2)

    def forward(self, x: Tensor, init: Any) -> Tensor:
        s = self.spikes(self.first(x), init)
        out: Tensor = self.more(self.second(s), init)
        return out.flatten(1)


def test_network() -> None:
    torch.manual_seed(0)
    net = Net().double()
    last = copy.deepcopy(net).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = 4.0 * torch.rand(N, 5, 2, H, W, dtype=torch.float64)
    found = []
    ways: list[tuple[Net, Any]] = [(net, "step"), (net, "fold"), (last, "step"), (last, "fold"), (last, "auto")]
    for each, mode in ways:
        model = st.SpikingNet(each, 6 * (H - 2) * (W - 2), mode=mode)
        for _ in range(2):  # the second call takes what the first has prepared
            out = model(x)
            weights = torch.cos(torch.arange(out.numel(), dtype=out.dtype)).reshape(out.shape)
            found.append([out.detach(), *torch.autograd.grad(out, list(each.parameters()), weights)])
        shape = each.spikes.s
        assert shape.is_contiguous(memory_format=torch.channels_last if each is last else torch.contiguous_format)
    assert found[0][0].mean() > 0.01
    for other in found[1:]:
        assert_close(other, found[0])
