"""Channels-last images stay channels-last through a scan, and give the same numbers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from tests.folded_layer import draw, last

pytestmark = pytest.mark.usefixtures("afresh")
N, C, H, W = 3, 5, 4, 7
LAST = torch.channels_last


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
        out = F.scan(F.if_step, F.IFState(torch.zeros_like(x[:, 0])), x, dim=1, backend="fused")[1]
        assert out.is_contiguous()
    step: Any = lambda state, x: (F.IFState(state.v + x[0] * x[1]), state.v)  # noqa: E731
    state = F.IFState(torch.zeros_like(plain[:, 0]))
    assert F.scan(step, state, (last(plain), plain[:, :, :1]), dim=1, backend="fused")[1].is_contiguous()
