"""A batch of one sample folds as one of several does."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.testing import assert_close
from tests.fold.free import net_of
from tests.nets_that_step import Hole, train

pytestmark = pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning")


def heads(x: Tensor) -> Tensor:
    return x.reshape(len(x), 2, 3, 2).permute(0, 2, 1, 3)


ATTENTION: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "matmul": lambda q, k: (q @ k.transpose(-2, -1)) @ k,
    "contiguous": lambda q, k: (q.contiguous() @ k.contiguous().transpose(-2, -1)) @ k,
    "sum": lambda q, k: q * k.sum(2, keepdim=True),
    "einsum": lambda q, k: torch.einsum("bhnd,bhmd,bhme->bhne", q, k, k),
    "einsum of a list": lambda q, k: torch.einsum("bhnd, bhmd -> bhnm", [q, k]) @ k,
    "softmax": lambda q, k: torch.softmax(q @ k.transpose(2, 3), -1) @ k,
    "attention": lambda q, k: nn.functional.scaled_dot_product_attention(q, k, k),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_of_one_sample_folds(name: str) -> None:
    def attend(net: Any, x: Tensor, init: Any) -> Tensor:
        q, k = heads(net.sl3(net.l3(x), init)), heads(net.sl4(net.l4(x), init))
        y: Tensor = ATTENTION[name](q, k)
        out: Tensor = net.l5(y.transpose(1, 2).reshape(len(x), 12))
        return out

    parts = {"l3": nn.Linear(4, 12), "l4": nn.Linear(4, 12), "l5": nn.Linear(12, 4), "sl3": st.LI(), "sl4": st.LI()}
    net = net_of(attend, **parts)
    model, step = st.SpikingNet(net, 3), st.SpikingNet(net, 3, mode="step")
    for N in (1, 3, 1):
        x, y = train(N=N).requires_grad_(), train(N=N).requires_grad_()
        out, want = model(x), step(y)
        cotangent = torch.randn(out.shape, dtype=torch.float64)
        given = [torch.autograd.grad(o, [i, *net.parameters()], cotangent) for o, i in ((out, x), (want, y))]
        assert_close([out, *given[0]], [want, *given[1]])
        assert model.explain().mode == "fold"


def squeezed(net: Any, x: Tensor, init: Any) -> Tensor:
    return x[:, None].squeeze(1).mul(2.0)


def besides_written(x: Tensor) -> Tensor:
    """Write on a copy, if torch makes one, and return what was copied."""
    x.t().contiguous().add_(1.0)
    return x


SINGLE: dict[str, tuple[Hole, str]] = {
    "squeezes its own axis": (squeezed, "fold"),
    "asks for its size": (lambda net, x, init: x * 2.0 if len(x) > 1 else x, "step"),
    "asks, and does the same": (lambda net, x, init: x.reshape(len(x), 4), "fold"),
    "a constant of its size": (lambda net, x, init: x * torch.tensor(1.0 / min(len(x), 2)), "step"),
    "writes on a copy": (lambda net, x, init: heads(x.repeat(1, 3)).reshape(len(x), 12).mul_(2.0)[:, :4], "fold"),
    "writes on what several copy": (lambda net, x, init: besides_written(x * 1.0), "step"),
}


@pytest.mark.parametrize("name", SINGLE)
def test_one_sample(name: str) -> None:
    code, mode = SINGLE[name]
    net = net_of(code)
    model = st.SpikingNet(net, 3)
    assert_close(model(train(N=3)), st.SpikingNet(net, 3, mode="step")(train(N=3)))
    assert_close(model(train(N=1)), st.SpikingNet(net, 3, mode="step")(train(N=1)))
    report = model.explain()
    assert report.mode == mode
    if mode == "step":
        assert "for one sample" in report.reason
        assert f"of {__file__.rpartition('/')[2]}" in report.reason


def doubled(net: Any, x: Tensor, init: Any) -> Tensor:
    return x.clone().mul_(2.0)


def own_or_copied(net: Any, x: Tensor, init: Any) -> Tensor:
    """Return a copy, of which one sample is spared."""
    y, z = x * 1.0, x * 1.0
    copied = y.clone()
    (y if len(x) == 1 else copied).mul_(2.0)
    out: Tensor = copied + z
    return out


def test_one_sample_that_is_copied_and_written_on() -> None:
    net = net_of(doubled)
    model, step = st.SpikingNet(net, 3), st.SpikingNet(net, 3, mode="step")
    assert_close(model(train(N=1)), step(train(N=1)))
    assert model.explain().mode == "fold"


def test_one_sample_that_is_written_on_elsewhere() -> None:
    net = net_of(own_or_copied)
    model, step = st.SpikingNet(net, 3), st.SpikingNet(net, 3, mode="step")
    for N in (5, 1):
        assert_close(model(train(N=N)), step(train(N=N)))
    assert model.explain().mode == "step"
