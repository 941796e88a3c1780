"""``create_graph=True`` through fused scans: the second derivatives are those of the loop."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from tests.fused_steps import N, T, draw
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


def fixed(scale: list[float]) -> tuple[Any, Callable[[float], Any]]:
    """Return a step that holds a number, and what changes it."""

    def step(state: F.LIFState, x: Tensor) -> tuple[F.LIFState, Tensor]:
        v = scale[0] * state.v + x * x
        return F.LIFState(v), v

    return step, lambda number: scale.__setitem__(0, number)


def by_default() -> tuple[Any, Callable[[float], Any]]:
    def step(state: F.LIFState, x: Tensor, *, scale: float = 0.5) -> tuple[F.LIFState, Tensor]:
        v = scale * state.v + x * x
        return F.LIFState(v), v

    defaults: Any = step.__kwdefaults__
    return step, lambda number: defaults.update(scale=number)


@pytest.mark.parametrize("default", [False, True])
def test_a_number_that_changes_between_the_passes(default: bool) -> None:
    """It is an error, but for a default, which is an argument that the call has had."""
    step, change = by_default() if default else fixed([0.5])
    for _ in range(3):
        change(0.5)
        (xs,) = watched([draw(T, N)])
        spikes = F.scan(step, F.LIFState(torch.zeros(N).double()), xs)[1]
        (want,) = torch.autograd.grad(spikes.sum(), xs, retain_graph=True)
        change(0.6)
        if default:
            assert_close(torch.autograd.grad(spikes.sum(), xs, create_graph=True)[0], want)
            continue
        with pytest.raises(RuntimeError, match=r"changed between the forward and the backward pass.*in params"):
            torch.autograd.grad(spikes.sum(), xs, create_graph=True)
