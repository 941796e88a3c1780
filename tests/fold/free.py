"""Networks whose tensors and numbers change between calls, beside stepping, and a count of proofs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import spikingtorch as st
from spikingtorch.fold import policy
from tests.nets_that_step import Hole, readout, train


def counting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets one entry for each proof."""
    found: list[int] = []
    prove = getattr(policy, "prove")  # noqa: B009

    def counted(*args: Any) -> Any:
        found.append(1)
        return prove(*args)

    monkeypatch.setattr(policy, "prove", counted)
    return found


def net_of(code: Hole, **attributes: Any) -> Any:
    torch.manual_seed(0)
    return readout(code, **attributes).double()


def decides_anew(make: Callable[[], Any], change: Callable[[Any], object], stays: bool = False) -> None:
    """Check that a model computes what steps do after a change; ``stays`` where it steps before it as well."""
    torch.manual_seed(0)
    net = make().double()
    model = st.SpikingNet(net, 3)
    model(train())
    assert stays or model.explain().mode == "fold"
    change(net)
    torch.testing.assert_close(model(train()), st.SpikingNet(net, 3, mode="step")(train()))


def as_stepped(net: Any, model: st.SpikingNet, N: int = 5) -> str:
    """Check a call, forward and backward, against steps, and return how it ran."""
    other = st.SpikingNet(net, 3, mode="step")
    runs = []
    for each in (model, other):
        torch.manual_seed(1)
        x = train(N=N).requires_grad_()
        out = each(x)
        weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        runs.append((out, *torch.autograd.grad(out, [x, *net.parameters()], weight, allow_unused=True)))
    for a, b in zip(*runs, strict=True):
        assert a is b is None or torch.allclose(a, b, rtol=1e-10, atol=1e-12)
    return model.explain().mode
