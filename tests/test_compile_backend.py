"""backend="compile": the results of the loop, graphs that neither time nor many batch sizes add to, and refusals."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from torch.utils import _pytree as pytree

from spikingtorch import functional as F
from spikingtorch.functional.compiled import CHUNK
from spikingtorch.testing import assert_close

N, M = 3, 6
BOTH: tuple[F.Backend, ...] = ("compile", "loop")
GAIN = 1.5  # which a step reads through this module


class Coupled(NamedTuple):
    """State of a neuron of a user: a product of matrices inside its step."""

    v: Tensor
    trace: dict[str, Tensor]


def coupled(state: Coupled, x: Any, weight: Tensor, decay: Any) -> Any:
    u = decay * state.v + GAIN * x["a"] + torch.tanh(state.trace["s"] @ weight) * x["b"]
    spike = F.Arctan(2.0)(u - 1.0)
    return Coupled(u * (1.0 - spike), {"s": 0.5 * state.trace["s"] + spike}), (spike, {"u": u})


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def coupled_call(T: int, batch: int = N) -> tuple[Any, ...]:
    state = Coupled(draw(batch, M), {"s": draw(batch, M, seed=1)})
    xs = {"a": draw(T, batch, M, seed=2), "b": draw(T, batch, M, seed=3)}
    return coupled, state, xs, {"weight": draw(M, M, seed=4) - 0.5, "decay": draw(M, seed=5)}


def recurrent_call(T: int, batch: int = N) -> tuple[Any, ...]:
    state = F.RecurrentState(F.LIFState(draw(batch, M)), draw(batch, M, seed=1))
    params = {"recurrent_weight": draw(M, M, seed=4) - 0.5, "decay": 0.8}
    return F.Recurrent(F.lif_step), state, draw(T, batch, M, seed=2), params


def results(call: tuple[Any, ...], backend: Any, dim: int = 0) -> list[Tensor]:
    """Return outputs, final state and, by fixed random cotangents on all of them, all gradients."""
    step, *trees = call
    variables = pytree.tree_map(lambda x: x.clone().requires_grad_() if isinstance(x, Tensor) else x, trees)
    state, xs, params = variables
    xs = pytree.tree_map(lambda x: x.movedim(0, dim), xs)
    found = pytree.tree_leaves(F.scan(step, state, xs, params=params, dim=dim, backend=backend))
    leaves = [leaf for leaf in pytree.tree_leaves(variables) if isinstance(leaf, Tensor)]
    cotangents = [draw(*leaf.shape, seed=10 + k) - 0.5 for k, leaf in enumerate(found)]
    return [leaf.detach() for leaf in (*found, *torch.autograd.grad(found, leaves, cotangents))]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("make", "lengths"), [(coupled_call, [CHUNK + 2]), (recurrent_call, [1, 15, 16, 35])])
def test_is_the_loop(make: Callable[..., tuple[Any, ...]], lengths: list[int]) -> None:
    for T in lengths:
        assert_close(results(make(T), "compile"), results(make(T), "loop"))
    assert_close(results(make(CHUNK + 2), "compile", dim=1), results(make(CHUNK + 2), "loop", dim=1))


@pytest.mark.timeout(600)
def test_graphs_do_not_grow() -> None:
    results(recurrent_call(2 * CHUNK + 1, batch=4), "compile")

    def graphs() -> int:
        return int(counters["stats"]["unique_graphs"])

    known = graphs()
    results(recurrent_call(8 * CHUNK + 3, batch=4), "compile")
    assert graphs() == known  # not with T
    results(recurrent_call(2 * CHUNK + 1, batch=5), "compile")
    second = graphs()
    assert second - known <= 2  # once for a chunk, once for a single step
    for batch in (7, 9, 11):
        results(recurrent_call(2 * CHUNK + 1, batch=batch), "compile")
    assert graphs() == second


@pytest.mark.timeout(600)
def test_what_a_step_reads_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    step, state, xs, params = coupled_call(3)

    def run(backend: Any) -> Any:
        with torch.no_grad():
            return F.scan(step, state, xs, params=params, backend=backend)

    for gain in (0.5, 2.0):
        monkeypatch.setitem(globals(), "GAIN", gain)
        assert_close(run("compile"), run("loop"))


@pytest.mark.timeout(600)
def test_half_is_rounded_at_the_end_only() -> None:
    step, state, xs, params = recurrent_call(5)
    state, params = _single(state), _single(params)
    with torch.no_grad():
        got, want = (F.scan(step, state, xs.bfloat16(), params=params, backend=name) for name in BOTH)
    assert got[1].dtype == torch.bfloat16
    assert torch.equal(got[1], want[1])
    assert got[0].neuron.v.dtype == torch.float32
    assert_close(got[0], want[0])


def _single(tree: Any) -> Any:
    return pytree.tree_map(lambda leaf: leaf.float() if isinstance(leaf, Tensor) else leaf, tree)


STEP, STATE, XS, PARAMS = recurrent_call(3)


def total(x: Tensor) -> Tensor:
    step, state, params = STEP, STATE, PARAMS
    out: Tensor = F.scan(step, state, x, params=params, backend="compile")[1].sum()
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
    with pytest.raises(
        ValueError, match=r"backend='compile' cannot be differentiated or mapped by torch.func.*'auto' or"
    ):
        run(XS)


def test_compiled_code_is_refused() -> None:
    with pytest.raises(Exception, match=r"backend='compile' is for code that is not compiled itself"):
        torch.compile(total, backend="eager", fullgraph=True)(XS)


def test_explain() -> None:
    step, state, xs, params = recurrent_call(3)
    explained = F.explain_scan(step, state, xs, params=params, backend="compile")
    assert (explained.backend, explained.exactness) == ("compile", "T")
    assert "16 steps at a time" in explained.reason


def test_a_step_that_writes_in_place_is_an_error() -> None:
    def writes(state: F.LIFState, x: Tensor) -> Any:
        state.v.add_(x)
        return state, x

    with pytest.raises(ValueError, match="wrote on its state"):
        F.scan(writes, F.LIFState(draw(N, M)), draw(3, N, M), backend="compile")
