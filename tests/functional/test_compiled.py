"""backend="compile": the results of the loop, graphs that neither time nor many batch sizes add to, and refusals."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from torch.utils import _pytree as pytree

from spikingtorch import functional as F
from spikingtorch.functional import compiled
from spikingtorch.functional.core.lru import LRUCache
from spikingtorch.testing import assert_close
from tests.fused_steps import draw, gradients, value

N, M = 3, 6
CHUNK = compiled.CHUNK
RECURRENT = F.Recurrent(functools.partial(F.lif_step, decay=0.8))
GAIN = 1.5  # which a step reads through this module


@pytest.fixture
def only_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the C++ compiler, which takes its time: what there is a graph for does not depend on it."""
    monkeypatch.setattr(compiled, "_known", LRUCache(64))
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))


class Coupled(NamedTuple):
    """State of a neuron of a user: a product of matrices inside its step."""

    v: Tensor
    trace: dict[str, Tensor]


def coupled(state: Coupled, x: Any, weight: Tensor, decay: Any) -> Any:
    u = decay * state.v + GAIN * x["a"] + torch.tanh(state.trace["s"] @ weight) * x["b"]
    spike = F.Arctan(2.0)(u - 1.0)
    return Coupled(u * (1.0 - spike), {"s": 0.5 * state.trace["s"] + spike}), (spike, {"u": u})


def coupled_call(T: int, batch: int = N) -> tuple[Any, ...]:
    state = Coupled(draw(batch, M), {"s": draw(batch, M, seed=1)})
    xs = {"a": draw(T, batch, M, seed=2), "b": draw(T, batch, M, seed=3)}
    return coupled, state, xs, {"weight": draw(M, M, seed=4) - 0.5, "decay": draw(M, seed=5)}


def recurrent_call(T: int, batch: int = N) -> tuple[Any, ...]:
    state = F.RecurrentState(F.LIFState(draw(batch, M)), draw(batch, M, seed=1))
    params = {"recurrent_weight": draw(M, M, seed=4) - 0.5}
    return RECURRENT, state, draw(T, batch, M, seed=2), params


def check_is_the_loop(call: tuple[Any, ...], dim: int = 0) -> None:
    """Compare outputs, final state and all gradients."""

    def number(state: Any, xs: Any, params: Any, backend: Any) -> Tensor:
        moved = pytree.tree_map(lambda x: x.movedim(0, dim), xs)
        results = F.scan(call[0], state, moved, params=params, dim=dim, backend=backend)
        found.append([leaf.detach() for leaf in pytree.tree_leaves(results)])
        return value(results)

    found: list[Any] = []
    by_compiler, by_loop = (gradients(functools.partial(number, backend=b), *call[1:]) for b in ("compile", "loop"))
    assert_close((found[0], by_compiler), (found[1], by_loop))


@pytest.mark.usefixtures("only_traced")
def test_is_the_loop() -> None:
    for T in (1, 15, 16, 2 * CHUNK + 3):
        check_is_the_loop(coupled_call(T))
    check_is_the_loop(coupled_call(CHUNK + 2), dim=1)
    check_is_the_loop(recurrent_call(CHUNK + 2))


@pytest.mark.timeout(600)
def test_by_the_compiler_that_torch_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "CHUNK", 2)
    check_is_the_loop(coupled_call(5))


@pytest.mark.usefixtures("only_traced")
def test_graphs_do_not_grow() -> None:
    def graphs(T: int, batch: int) -> int:
        check_is_the_loop(recurrent_call(T, batch))
        return int(counters["stats"]["unique_graphs"])

    known = graphs(2 * CHUNK + 1, batch=4)
    assert graphs(4 * CHUNK + 3, batch=4) == known  # not with T
    second = graphs(2 * CHUNK + 1, batch=5)
    assert second - known <= 2  # once for a chunk, once for a single step
    for batch in (7, 9, 11):
        assert graphs(2 * CHUNK + 1, batch) == second


def unrecorded(call: tuple[Any, ...], backend: Any) -> tuple[Any, Any]:
    step, state, xs, params = call
    with torch.no_grad():
        return F.scan(step, state, xs, params=params, backend=backend)


@pytest.mark.usefixtures("only_traced")
def test_what_a_step_reads_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    for gain in (0.5, 2.0):
        monkeypatch.setitem(globals(), "GAIN", gain)
        assert_close(*(unrecorded(coupled_call(3), backend) for backend in ("compile", "loop")))


@pytest.mark.usefixtures("only_traced")
def test_half_is_rounded_at_the_end_only() -> None:
    step, state, xs, params = recurrent_call(5)
    state, params = pytree.tree_map(lambda leaf: leaf.float() if isinstance(leaf, Tensor) else leaf, (state, params))
    got, want = (unrecorded((step, state, xs.bfloat16(), params), backend) for backend in ("compile", "loop"))
    assert got[1].dtype == torch.bfloat16
    assert torch.equal(got[1], want[1])
    assert got[0].neuron.v.dtype == torch.float32
    assert_close(got[0], want[0])


STEP, STATE, XS, PARAMS = recurrent_call(3)


def total(x: Tensor) -> Tensor:
    out: Tensor = F.scan(STEP, STATE, x, params=PARAMS, backend="compile")[1].sum()
    return out


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
    with pytest.raises(Exception, match=r"backend='compile' is for code that is not compiled itself"):
        torch.compile(total, backend="eager", fullgraph=True)(XS)


def test_explain() -> None:
    explained = F.explain_scan(STEP, STATE, XS, params=PARAMS, backend="compile")
    assert (explained.backend, explained.exactness) == ("compile", "T")
    assert "16 steps at a time" in explained.reason


def test_a_step_that_writes_in_place_is_an_error() -> None:
    def writes(state: F.LIFState, x: Tensor) -> Any:
        state.v.add_(x)
        return state, x

    with pytest.raises(ValueError, match="wrote on its state"):
        F.scan(writes, F.LIFState(draw(N, M)), draw(3, N, M), backend="compile")
