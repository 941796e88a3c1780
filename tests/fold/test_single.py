"""A batch of one sample folds as one of several does."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.testing import assert_close
from tests.fold.free import as_stepped, net_of
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


def embedded(net: Any, x: Tensor) -> Tensor:
    out: Tensor = x[:, None] * net.w
    return out


def attended(net: Any, x: Tensor, init: Any) -> Tensor:
    y = embedded(net, x)
    out: Tensor = net.part(y, y, y)[0]
    return out.mean(1)


def encoded(net: Any, x: Tensor, init: Any) -> Tensor:
    out: Tensor = net.part(embedded(net, x))
    return out.mean(1)


def recurrent(net: Any, x: Tensor, init: Any) -> Tensor:
    out: Tensor = net.part(embedded(net, x))[0]
    return out[:, -1]


# in these torch takes another order of the axes, and of sums, for one sample
PARTS: dict[str, tuple[Callable[[], nn.Module], Hole]] = {
    "multi-head attention": (lambda: nn.MultiheadAttention(4, 2, batch_first=True), attended),
    "transformer": (lambda: nn.TransformerEncoderLayer(4, 2, 8, 0.0, batch_first=True), encoded),
    "GRU": (lambda: nn.GRU(4, 4, batch_first=True), recurrent),
    "LSTM": (lambda: nn.LSTM(4, 4, batch_first=True), recurrent),
    "RNN": (lambda: nn.RNN(4, 4, 2, batch_first=True), recurrent),
}


@pytest.mark.parametrize("name", PARTS)
def test_one_sample_of_a_module_of_torch_folds(name: str) -> None:
    make, code = PARTS[name]
    torch.manual_seed(0)
    net = net_of(code, part=make(), w=nn.Parameter(torch.randn(5, 4)))
    model = st.SpikingNet(net, 3)
    assert [as_stepped(net, model, N) for N in (1, 3, 1)] == ["fold"] * 3
    with torch.no_grad():
        assert_close(model.eval()(train(N=1)), st.SpikingNet(net, 3, mode="step")(train(N=1)))
        assert model.explain().mode == "fold"


def squeezed(net: Any, x: Tensor, init: Any) -> Tensor:
    return x[:, None].squeeze(1).mul(2.0)


def besides_written(x: Tensor) -> Tensor:
    """Write on a copy, if torch makes one, and return what was copied."""
    x.t().contiguous().add_(1.0)
    return x


def without_gradient(net: Any, x: Tensor, init: Any) -> Tensor:
    with torch.set_grad_enabled(len(x) > 1):
        return x * 2.0


def drawn_in_another_order(net: Any, x: Tensor, init: Any) -> Tensor:
    first, second = torch.rand_like(x), torch.rand_like(x)
    return x + (first if len(x) == 1 else second)


def part_written_on(net: Any, x: Tensor, init: Any) -> Tensor:
    h = x * 1.0
    h[:, :2].add_(1.0)
    out: Tensor = h * heads(h.repeat(1, 3)).reshape(len(x), 12)[:, :4]
    return out


def parts_written_on_in_turn(x: Tensor) -> Tensor:
    """Write on one half of a copy, and return the other if there are several."""
    h = x * 1.0
    first, second = h.chunk(2, 1)
    first.add_(1.0)
    return torch.cat([second, first] if len(x) > 1 else [second, h[:, :2] - 1.0], 1)


def one_read_for_the_other(x: Tensor) -> Tensor:
    """Return a tensor that was written on by a view of it, or of one sample one that was not."""
    h, same = x * 1.0, x * 1.0
    view = h.view(-1, 2, 2)
    h.add_(1.0)
    return (same.view(-1, 2, 2) if len(x) == 1 else view).flatten(1)


def expanded(x: Tensor) -> Tensor:
    """Write on one of two rows that lie in one memory, if torch copies nothing."""
    rows = (x * 1.0)[:, None].expand(-1, 2, -1)
    rows = rows if len(x) == 1 else rows.clone()
    rows[:, 0].add_(1.0)
    return rows[:, 1]


def biased_in_pairs(net: Any, x: Tensor, init: Any) -> Tensor:
    y: Tensor = x @ net.w
    pairs = y.view(-1, 2, 2) + net.b[:2]
    out: Tensor = pairs.flatten(1) if len(x) > 1 else y + net.b
    return out


SINGLE: dict[str, tuple[Hole, str]] = {
    "squeezes its own axis": (squeezed, "fold"),
    "asks for its size": (lambda net, x, init: x * 2.0 if len(x) > 1 else x, "step"),
    "asks, and does the same": (lambda net, x, init: x.reshape(len(x), 4), "fold"),
    "a constant of its size": (lambda net, x, init: x * torch.tensor(1.0 / min(len(x), 2)), "step"),
    "writes on a copy": (lambda net, x, init: heads(x.repeat(1, 3)).reshape(len(x), 12).mul_(2.0)[:, :4], "fold"),
    "records no gradient": (without_gradient, "step"),
    "another scale": (lambda net, x, init: x * (2.0 if len(x) > 1 else 3.0), "step"),
    "another dtype of a number": (lambda net, x, init: x * (2 if len(x) > 1 else 2.0), "step"),
    "another tensor": (lambda net, x, init: x + (net.w if len(x) > 1 else net.w.t())[0], "step"),
    "writes on a part": (part_written_on, "fold"),
    "writes on parts in turn": (lambda net, x, init: parts_written_on_in_turn(x), "step"),
    "reads one that was not written on": (lambda net, x, init: one_read_for_the_other(x), "step"),
    "writes on one of two rows in one memory": (lambda net, x, init: expanded(x), "step"),
    "a bias for pairs": (biased_in_pairs, "step"),
    "a bias before a view": (lambda net, x, init: ((x @ net.w).view(-1, 1, 4) + net.b).flatten(1), "fold"),
    "leaves out the last operation": (lambda net, x, init: x * 2.0 if len(x) > 1 else x * 2.0 + 1.0, "step"),
    "writes on what several copy": (lambda net, x, init: besides_written(x * 1.0), "step"),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", SINGLE)
def test_one_sample(name: str) -> None:
    code, mode = SINGLE[name]
    torch.manual_seed(0)
    net = net_of(code, w=nn.Parameter(torch.randn(4, 4)), b=nn.Parameter(torch.randn(4)))
    model = st.SpikingNet(net, 3)
    assert_close(model(train(N=3)), st.SpikingNet(net, 3, mode="step")(train(N=3)))
    assert_close(model(train(N=1)), st.SpikingNet(net, 3, mode="step")(train(N=1)))
    report = model.explain()
    assert report.mode == mode
    if mode == "step":
        assert "for one sample" in report.reason
        assert f"of {__file__.rpartition('/')[2]}" in report.reason


def test_one_sample_that_draws_in_another_order() -> None:
    reason = st.SpikingNet(net_of(drawn_in_another_order), 3).explain(train(N=1)).reason
    assert "for one sample than for several (rand_like" in reason


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
