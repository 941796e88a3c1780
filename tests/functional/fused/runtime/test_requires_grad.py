"""Results that have no gradient on the loop have none on the fused backend, and all others have one; so do leaves."""

import itertools
from collections import namedtuple
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikingtorch import functional as F
from tests.folded_layer import Lambda

# which is what these tests are about
pytestmark = pytest.mark.filterwarnings("ignore:.*hard_step.*its output has no gradient:RuntimeWarning")

T, N = 6, 5
X, WEIGHT = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) for shape in ((T, N), (N, N)))

Counting = namedtuple("Counting", ["v", "older", "total", "n"])


def counting_step(state: Counting, x: Tensor, *, gain: Tensor) -> Any:
    """Fire without a surrogate: spikes and their count have no gradient, the membranes have one of everything."""
    v = 0.5 * state.v + gain * x
    spike = (v > 1.0).to(v.dtype)
    after = Counting(v, state.v, state.total + spike, state.n + 1)
    return after, (spike, v.floor(), gain + 0.0 * state.total, state.older * 1.0, v.detach(), v > state.older)


def hard_step(state: F.IFState, x: Tensor, *, gain: Tensor) -> Any:
    """Fire without a surrogate, the membrane aside."""
    v = 0.5 * state.v + gain * x
    spike = (v > 0.7).to(v.dtype)
    return F.IFState((v - spike).detach()), spike


def flags(results: Any) -> list[bool]:
    return [leaf.requires_grad for leaf in pytree.tree_leaves(results)]


def watched(wants: tuple[bool, ...]) -> tuple[Counting, Tensor, Tensor]:
    leaves = torch.zeros(N), torch.zeros(N), torch.zeros(N), X.clone(), torch.ones(N)
    v, older, count, x, gain = (leaf.requires_grad_(want) for leaf, want in zip(leaves, wants, strict=True))
    return Counting(v, older, count, torch.zeros(N, dtype=torch.int64)), x, gain


def gradients(results: Any, leaves: list[Tensor]) -> list[list[Tensor | None]]:
    """Return the gradients of each result that has one, None where autograd sees no way to the leaf."""
    tensors = [leaf for leaf in pytree.tree_leaves(results) if leaf.requires_grad]
    options: dict[str, Any] = {"allow_unused": True, "retain_graph": True}
    return [list(torch.autograd.grad(tensor.sum(), leaves, **options)) for tensor in tensors]


@pytest.mark.sampled
@pytest.mark.parametrize("wants", [*itertools.product([False, True], repeat=5)])
def test_a_gradient_is_there_where_the_loop_has_one(wants: tuple[bool, ...]) -> None:
    """It may be zeros as well where the loop has none, because another result has one there."""
    found, told = [], []
    backends: tuple[Any, ...] = ("loop", "fused", "fused")  # a first call and a later one
    for backend in backends:
        state, x, gain = watched(wants)
        leaves = [leaf for leaf in (state.v, state.older, state.total, x, gain) if leaf.requires_grad]
        results = F.scan(counting_step, state, x, params={"gain": gain}, backend=backend)
        told.append(flags(results))
        found.append([each for row in gradients(results, leaves) for each in row])
    assert told[1:] == told[:1] * 2
    for want, *got in zip(*found, strict=True):
        for each in got:
            if want is None:
                assert each is None or not each.any()
            else:
                assert each is not None
                assert torch.equal(each, want)


def flat_step(state: F.IFState, x: Tensor, *, gain: Tensor, unused: Tensor) -> Any:
    """Give out what has a gradient of zero."""
    return F.IFState(state.v + 1.0), x.floor() + gain.round()


@pytest.mark.parametrize("recurrent", [False, True])
def test_no_gradient_at_all(recurrent: bool) -> None:
    found = []
    backends: tuple[Any, ...] = ("loop", "fused")
    for backend in backends:
        state, leaves = F.IFState(torch.zeros(N)), [X.clone(), torch.ones(N), torch.ones(N), torch.ones(N)]
        x, gain, unused, weight = [leaf.requires_grad_() for leaf in leaves]
        step: Any = F.Recurrent(flat_step, F.per_channel) if recurrent else flat_step
        start: Any = F.RecurrentState(state, torch.zeros(N)) if recurrent else state
        params = {"gain": gain, "unused": unused} | ({"recurrent_weight": weight} if recurrent else {})
        out = F.scan(step, start, x, params=params, backend=backend)[1]
        found.append([None if each is None else each.tolist() for each in gradients(out, leaves)[0]])
    assert found[1] == found[0]
    assert found[0] == [X.mul(0).tolist(), [0.0] * N, None, [0.0] * N if recurrent else None]


WAYS: dict[str, Callable[[Callable[[Tensor], Any]], Any]] = {
    "export": lambda function: torch.export.export(Lambda(lambda _, x: function(x)), (X,)).module()(
        X.clone().requires_grad_()
    ),
    "eager": lambda function: function(X.clone().requires_grad_()),
    "compile": lambda function: torch.compile(function, backend="eager", fullgraph=True)(X.clone().requires_grad_()),
    "vmap": lambda function: torch.func.vmap(function)(X.expand(3, T, N).clone().requires_grad_()),
}


def scanned(backend: Any) -> Callable[[Tensor], Any]:
    def function(x: Tensor) -> Any:
        state = Counting(torch.zeros(N), torch.zeros(N), torch.zeros(N), torch.zeros(N, dtype=torch.int64))
        return F.scan(counting_step, state, x, params={"gain": torch.ones(N)}, backend=backend)

    return function


@pytest.mark.sampled
@pytest.mark.parametrize("way", WAYS)
def test_the_same_inside_transforms(way: str) -> None:
    assert flags(WAYS[way](scanned("fused"))) == flags(WAYS["vmap" if way == "vmap" else "eager"](scanned("loop")))


@pytest.mark.parametrize("backend", ["loop", "fused"])
def test_torch_func_has_zeros_and_backward_raises(backend: Any) -> None:
    def total(x: Tensor) -> Tensor:
        out: Tensor = F.scan(hard_step, F.IFState(torch.zeros(N)), x, params={"gain": torch.ones(N)}, backend=backend)[
            1
        ]
        return out.sum()

    assert torch.equal(torch.func.grad(total)(X), torch.zeros_like(X))
    with pytest.raises(RuntimeError, match="does not require grad"):
        total(X.clone().requires_grad_()).backward()


@pytest.mark.parametrize("wants", [*itertools.product([False, True], repeat=4)])
@pytest.mark.parametrize("synapse", ["dense", "convolution"])
@pytest.mark.parametrize("step", [F.if_step, counting_step, hard_step])
def test_recurrences(step: Any, synapse: str, wants: tuple[bool, ...]) -> None:
    shape = (2, N) if synapse == "dense" else (2, 3, 4, 4)
    weight = torch.rand(N, N) if synapse == "dense" else torch.rand(3, 3, 3, 3)
    found = []
    for backend in ("loop", "fused"):
        leaves = torch.zeros(shape), torch.rand(T, *shape), weight.clone(), torch.ones(shape)
        v, x, w, gain = (leaf.requires_grad_(want) for leaf, want in zip(leaves, wants, strict=True))
        neuron: Any = F.IFState(v)
        if step is counting_step:
            neuron = Counting(v, torch.zeros(shape), torch.zeros(shape), torch.zeros(shape, dtype=torch.int64))
        params = {"recurrent_weight": w} | ({} if step is F.if_step else {"gain": gain})
        state, recurrent = F.RecurrentState(neuron, torch.zeros(shape)), F.Recurrent(step, getattr(F, synapse))
        found.append(flags(F.scan(cast(Any, recurrent), state, x, params=params, backend=backend)))
    assert found[0] == found[1]
