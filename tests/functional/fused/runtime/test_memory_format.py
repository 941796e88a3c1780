"""Channels-last images stay channels-last through a scan and a folded network, and give the same numbers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.fold.policy import Mode
from spikingtorch.functional.fused.runtime.memory_format import memory_format_of
from spikingtorch.testing import assert_close
from tests.folded_layer import draw, last

pytestmark = pytest.mark.usefixtures("afresh")
N, C, H, W = 3, 5, 4, 7
LAST = torch.channels_last
MODES: tuple[Mode, ...] = ("step", "fold", "auto")


def results(backend: Any, T: int, form: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Return what a scan of images gives, and all gradients, for a cotangent in either format."""
    leaves = [
        last(draw(0, N, T, C, H, W)),
        draw(1, N, C, H, W),
        torch.linspace(0.5, 0.9, C, dtype=torch.float64).reshape(C, 1, 1),
        torch.tensor(0.9, dtype=torch.float64),
    ]
    x, v, decay, threshold = [leaf.requires_grad_() for leaf in leaves]
    params = {"decay": decay, "threshold": threshold}
    state, out = F.scan(F.lif_step, F.LIFState(v), x, params=params, dim=1, backend=backend)
    cotangents = [last(draw(2, N, 1, C, H, W))[:, 0], form(draw(3, N, T, C, H, W))]
    grads = torch.autograd.grad([state.v, out], leaves, cotangents)
    for stream in (out, grads[0]) if backend == "fused" else ():
        assert stream.flatten(0, 1).is_contiguous(memory_format=LAST)
    return [state.v, out, *grads]


@pytest.mark.parametrize("T", [1, 4, 20])
@pytest.mark.parametrize("form", [torch.clone, last], ids=["contiguous", "channels-last"])
def test_scan(T: int, form: Callable[[Tensor], Tensor]) -> None:
    want = results("loop", T, form)
    for _ in range(3):  # anew, and as it was prepared
        assert_close(results("fused", T, form), want)


def test_other_orders_of_memory_come_out_contiguous() -> None:
    plain = draw(0, N, 4, C, H, W)
    for x in (plain, plain.transpose(3, 4), plain.transpose(2, 3), plain[..., ::2], last(plain)[:, :, :1]):
        assert memory_format_of([x], 1) is None
        out = F.scan(F.if_step, F.IFState(torch.zeros_like(x[:, 0])), x, dim=1, backend="fused")[1]
        assert out.is_contiguous()
    assert memory_format_of([last(plain)], 1) is not None
    assert memory_format_of([last(plain), plain[:, :, :1]], 1) is None


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.spikes = nn.Conv2d(2, C, 3, padding=1), st.LIF(tau=3.0, v0=0.3, learnable="tau")
        self.second, self.more = nn.Conv2d(C, 6, 3), st.IF(v0=0.2)

    def forward(self, x: Tensor, init: Any) -> Tensor:
        return self.more(self.second(self.spikes(self.first(x), init)), init).flatten(1)  # type: ignore[no-any-return]


def test_network() -> None:
    x = 4.0 * draw(0, N, 5, 2, H, W)
    found = []
    for form in (torch.contiguous_format, LAST):
        for mode in MODES:
            torch.manual_seed(0)
            net: Any = Net().double().to(memory_format=form)  # type: ignore[call-overload]
            model = st.SpikingNet(net, 6 * (H - 2) * (W - 2), mode=mode)
            for _ in range(2):  # the second call takes what the first has prepared
                out = model(x)
                grads = torch.autograd.grad(out, list(net.parameters()), draw(1, *out.shape))
                found.append([out.detach(), *grads])
            assert net.spikes.s.is_contiguous(memory_format=form)
    assert found[0][0].mean() > 0.01
    for other in found[1:]:
        assert_close(other, found[0])
