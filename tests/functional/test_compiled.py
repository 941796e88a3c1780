"""backend="compile": the results of the loop, graphs that neither time nor many batch sizes add to, and refusals."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from spikingtorch import functional as F
from spikingtorch.functional import compiled
from spikingtorch.functional.core.lru import LRUCache
from spikingtorch.testing import assert_close
from tests.fused_steps import draw, loop
from tests.ways import Scan, both, scanned

N, M = 3, 6
CHUNK = 2  # steps, in place of 16: the graph of a chunk takes as long to write down as it has steps
GAIN = 1.5  # which a step reads through this module


@pytest.fixture
def only_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the C++ compiler and long chunks, which take time: what there is a graph for depends on neither."""
    monkeypatch.setattr(compiled, "_known", LRUCache(64))
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    monkeypatch.setattr(compiled, "CHUNK", CHUNK)


class Coupled(NamedTuple):
    """State of a neuron of a user: a product of matrices inside its step."""

    v: Tensor
    trace: dict[str, Tensor]


def coupled(state: Coupled, x: Any, weight: Tensor, decay: Any) -> Any:
    u = decay * state.v + GAIN * x["a"] + torch.tanh(state.trace["s"] @ weight) * x["b"]
    spike = F.Arctan(2.0)(u - 1.0)
    return Coupled(u * (1.0 - spike), {"s": 0.5 * state.trace["s"] + spike}), (spike, {"u": u})


def coupled_scan(T: int, dim: int = 0) -> Scan:
    state = Coupled(draw(N, M), {"s": draw(N, M, seed=1)})
    a, b = (draw(T, N, M, seed=seed).movedim(0, dim) for seed in (2, 3))
    params = {"weight": draw(M, M, seed=4) - 0.5, "decay": draw(M, seed=5)}
    return Scan(coupled, lambda seed: (state, {"a": a, "b": b}, params), dim)


def recurrent_scan(T: int, batch: int = N) -> Scan:
    state = F.RecurrentState(F.LIFState(draw(batch, M)), draw(batch, M, seed=1))
    params = {"recurrent_weight": draw(M, M, seed=4) - 0.5, "decay": 0.8}
    return Scan(F.Recurrent(F.lif_step), lambda seed: (state, draw(T, batch, M, seed=2), params))


compiles: Any = functools.partial(scanned, backend="compile")


def check_is_the_loop(scan: Scan) -> None:
    assert_close(*(both(scan(run), *scan.tensors()) for run in (compiles, loop)))


@pytest.mark.usefixtures("only_traced")
def test_is_the_loop() -> None:
    for T in (1, CHUNK, 2 * CHUNK + 1):
        check_is_the_loop(coupled_scan(T))
    check_is_the_loop(coupled_scan(CHUNK + 1, dim=1))


@pytest.mark.long
@pytest.mark.timeout(600)
def test_by_the_compiler_that_torch_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "CHUNK", 2)
    check_is_the_loop(coupled_scan(5))


@pytest.mark.long
@pytest.mark.usefixtures("only_traced")
def test_graphs_do_not_grow() -> None:
    def graphs(T: int, batch: int) -> int:
        check_is_the_loop(recurrent_scan(T, batch))
        return int(counters["stats"]["unique_graphs"])

    known = graphs(2 * CHUNK + 1, batch=4)
    assert graphs(4 * CHUNK + 3, batch=4) == known  # not with T
    second = graphs(2 * CHUNK + 1, batch=5)
    assert second - known <= 2  # once for a chunk, once for a single step
    for batch in (7, 9, 11):
        assert graphs(2 * CHUNK + 1, batch) == second


@torch.no_grad()
@pytest.mark.usefixtures("only_traced")
def test_what_a_step_reads_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = coupled_scan(3)
    for gain in (0.5, 2.0):
        monkeypatch.setitem(globals(), "GAIN", gain)
        assert_close(*(scan(run)(*scan.tensors()) for run in (compiles, loop)))


@torch.no_grad()
@pytest.mark.usefixtures("only_traced")
def test_half_is_rounded_at_the_end_only() -> None:
    scan = recurrent_scan(5)
    v, s, xs, weight = (tensor.float() for tensor in scan.tensors())
    got, want = (scan(run)(v, s, xs.bfloat16(), weight) for run in (compiles, scanned))
    assert got[1].dtype == torch.bfloat16
    assert torch.equal(got[1], want[1])
    assert got[0].neuron.v.dtype == torch.float32
    assert_close(got[0], want[0])


STEP: Any = F.Recurrent(F.lif_step)
STATE, XS, PARAMS = recurrent_scan(3).draw(0)


def total(x: Tensor) -> Tensor:
    return F.scan(STEP, STATE, x, params=PARAMS, backend="compile")[1].sum()


@pytest.mark.parametrize(
    "run",
    [
        lambda x: torch.func.grad(total)(x),
        lambda x: torch.func.vmap(total)(torch.stack([x, x])),
        lambda x: torch.func.jvp(total, (x,), (x,)),
    ],
    ids=["grad", "vmap", "jvp"],
)
def test_transforms_are_refused(run: Callable[[Tensor], Any]) -> None:
    message = r"backend='compile' cannot be differentiated or mapped by torch.func.*'auto' or"
    with pytest.raises(ValueError, match=message):
        run(XS)


def test_compiled_code_is_refused() -> None:
    with pytest.raises(Exception, match=r"backend='compile' does not work inside torch.compile"):
        torch.compile(total, backend="eager", fullgraph=True)(XS)


def test_explain() -> None:
    explained = F.explain_scan(STEP, STATE, XS, params=PARAMS, backend="compile")
    assert (explained.backend, explained.exactness) == ("compile", "T")
    assert "16 steps at a time" in explained.reason
