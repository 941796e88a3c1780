"""``create_graph=True`` through fused scans and folded networks: the second derivatives are those of the loop."""

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from tests.fused_steps import N, T, draw, value
from tests.ways import Case, Function, Scan, Way, second_order, slopes, vmap, watched

SLOPE = 0.3


def both_orders(function: Function, *x: Tensor) -> Any:
    return slopes(function, *x), second_order(function, *x)


TWICE = Way(both_orders, both_orders)


def literal(state: F.LIFState, x: Tensor) -> tuple[F.LIFState, Tensor]:
    v = torch.tanh(0.9 * state.v + SLOPE * x)
    return F.LIFState(v), v * v


def two_places(run: Callable[..., Any]) -> Function:
    return lambda a: run(F.lif_step, F.LIFState(a), draw(T, 3, N), {"decay": 0.5, "threshold": a})


def one_leaf(run: Callable[..., Any]) -> Function:
    return lambda decay: run(F.lif_step, F.LIFState(draw(N)), draw(T, N), {"decay": decay})[1]


def cotangents(run: Callable[..., Any]) -> Function:
    return lambda x, c: run(F.lif_step, F.LIFState(draw(N)), x, {"decay": 0.8})[1] * c


def mapped(run: Callable[..., Any]) -> Function:
    return lambda xs, v: vmap(lambda x: run(F.lif_step, F.LIFState(v), x, {"decay": 0.9}))(xs)


def timed(dim: int, reset: F.Reset) -> Any:
    xs = draw(T, 3, N).movedim(0, dim).contiguous()
    params = {"decay": draw(N, seed=2) / 5 + 0.7, "threshold": torch.tensor(0.9).double(), "reset": reset}
    scan = Scan(F.lif_step, lambda seed: (F.LIFState(draw(3, N, seed=1)), xs, params), dim)
    return pytest.param(scan, scan.tensors(), id=f"time {dim}")


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("case", "given"),
    [
        *itertools.starmap(timed, zip([0, 1, -1], [F.to_zero, F.by_subtraction, F.detached(F.to_zero)], strict=True)),
        (two_places, [draw(3, N)]),
        (one_leaf, [draw(1)]),
        (cotangents, [draw(T, N), draw(T, N, seed=1)]),
        (mapped, [draw(7, T, N), draw(N, seed=1)]),
        (Scan(literal, lambda seed: (F.LIFState(draw(N)), draw(T, N), {})), [draw(N), draw(T, N)]),
    ],
)
def test_scan(case: Case, given: list[Tensor]) -> None:
    TWICE._replace(kernels=(2, 2 if case is cotangents else 1)).check(case, *given)


def test_a_step_that_changes_between_the_passes_is_an_error() -> None:
    scale = [0.5]

    def step(state: F.LIFState, x: Tensor) -> tuple[F.LIFState, Tensor]:
        v = scale[0] * state.v + x * x
        return F.LIFState(v), v

    for _ in range(2):
        scale[0] = 0.5
        (xs,) = watched([draw(T, N)])
        spikes = F.scan(step, F.LIFState(torch.zeros(N).double()), xs)[1]
        scale[0] = 0.6
        with pytest.raises(RuntimeError, match=r"changed between the forward and the backward pass.*in params"):
            torch.autograd.grad(spikes.sum(), xs, create_graph=True)


def test_a_default_that_changes_between_the_passes_does_not_count() -> None:
    def step(state: F.LIFState, x: Tensor, *, scale: float = 0.5) -> tuple[F.LIFState, Tensor]:
        v = scale * state.v + x * x
        return F.LIFState(v), v

    defaults: Any = step.__kwdefaults__
    for _ in range(3):
        defaults["scale"] = 0.5
        (xs,) = watched([draw(T, N)])
        spikes = F.scan(step, F.LIFState(torch.zeros(N).double()), xs)[1]
        (want,) = torch.autograd.grad(spikes.sum(), xs, retain_graph=True)
        defaults["scale"] = 0.6
        (got,) = torch.autograd.grad(spikes.sum(), xs, create_graph=True)
        assert_close(got, want)


class Net(nn.Module):
    def __init__(self, recurrent: Any) -> None:
        super().__init__()
        self.conv, self.first = nn.Conv2d(2, 3, 3), st.LIF(learnable="tau")
        self.linear = nn.Linear(3 * 16, 6)
        self.second = st.LIF(tau=torch.full((6,), 4.0), v0=0.2, learnable=True, recurrent=recurrent)

    def forward(self, x: Tensor, init: Any) -> Tensor:
        spikes = self.first(3 * self.conv(x), init).flatten(1)
        return self.second(self.linear(spikes), init)  # type: ignore[no-any-return]


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("recurrent", "channels_last"),
    [(None, False), (nn.Linear(6, 6, bias=False), True), (torch.rand(6), False), (None, True)],
    ids=["plain", "dense, channels last", "per channel", "plain, channels last"],
)
def test_networks(recurrent: Any, channels_last: bool) -> None:
    torch.manual_seed(0)
    net: Any = Net(copy.deepcopy(recurrent)).double()
    x = 2 * draw(4, 12, 2, 6, 6)
    if channels_last:
        net = net.to(memory_format=torch.channels_last)
        x = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (4, 12))

    def found(mode: Any) -> list[Any]:
        model = st.SpikingNet(copy.deepcopy(net), 6, mode=mode)
        weights, each = list(model.parameters()), []
        for _ in range(3):
            first = torch.autograd.grad(value(model(x)), weights, create_graph=True)
            model.zero_grad()
            (value(model(x)) + value(first)).backward()  # accumulates both orders
            each.append([*first, *(weight.grad for weight in weights)])
        return each

    want = found("step")[0]
    assert all(grad.abs().max() > 0 for grad in want)
    for got in found("auto"):
        assert_close(got, want)
