"""Images in other orders of memory than channels-last, which layers are tested with, come out contiguous."""

from typing import Any

import torch

from spikingtorch import functional as F
from tests.folded_layer import draw, last


def test_other_orders_of_memory_come_out_contiguous() -> None:
    plain = draw(0, 3, 4, 5, 4, 7)
    for x in (plain, plain.transpose(3, 4), plain.transpose(2, 3), plain[..., ::2], last(plain)[:, :, :1]):
        out = F.scan(F.if_step, F.IFState(torch.zeros_like(x[:, 0])), x, dim=1, backend="fused")[1]
        assert out.is_contiguous()
    step: Any = lambda state, x: (F.IFState(state.v + x[0] * x[1]), state.v)  # noqa: E731
    state = F.IFState(torch.zeros_like(plain[:, 0]))
    assert F.scan(step, state, (last(plain), plain[:, :, :1]), dim=1, backend="fused")[1].is_contiguous()
