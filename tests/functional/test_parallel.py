"""Backend "parallel": what it computes is what the loop computes, and what it cannot compute is an error."""

from collections import namedtuple
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikingtorch import functional as F
from spikingtorch.testing import relative_error
from spikingtorch.verification.cases import CASES, Case, by_name

NONE: Any = F.none
BOTH: tuple[Any, ...] = ("parallel", "loop")
LINEAR = {
    *("li", "exponential_synapse", "alpha_synapse"),
    *("if", "lif", "spiking_decay", "euler_lif", "cuba_lif", "alpha_lif", "biolif", "short_term_plasticity"),
    *("stochastic_lif", "mcpitts", "delay"),
}


def options(case: Case) -> dict[str, Any]:
    return case.options(F.Sigmoid(), NONE)


def outcome(case: Case, backend: Any, T: int, dim: int = 0) -> list[Tensor]:
    """Return outputs, final state and the gradients of inputs, initial state and parameters."""
    xs, params = case.draw(T)
    state = case.initial(xs)
    leaves = [leaf.clone().requires_grad_() for leaf in pytree.tree_leaves((state, xs, params))]
    form = pytree.tree_structure((state, xs, params))
    state, xs, params = pytree.tree_unflatten(leaves, form)
    along = pytree.tree_map(lambda x: x.movedim(0, dim), xs)
    final, out = F.scan(case.step, state, along, params=params | options(case), dim=dim, backend=backend)
    results = [out, *pytree.tree_leaves(final)]
    pulls = [torch.randn(each.shape, generator=torch.Generator().manual_seed(1), dtype=each.dtype) for each in results]
    grads = torch.autograd.grad(results, leaves, pulls, allow_unused=True, materialize_grads=True)
    return [*[each.detach() for each in results], *grads]


@pytest.mark.parametrize(("T", "dim"), [(1, 0), (2, 0), (17, 1), (64, 0)])
@pytest.mark.parametrize("case", [case for case in CASES if case.name in LINEAR], ids=by_name)
def test_equals_the_loop(case: Case, T: int, dim: int) -> None:
    for got, want in zip(outcome(case, "parallel", T, dim), outcome(case, "loop", T, dim), strict=True):
        assert relative_error(got, want) < 1e-12


@pytest.mark.parametrize("case", [case for case in CASES if case.name not in LINEAR], ids=by_name)
def test_what_is_not_linear_is_an_error(case: Case) -> None:
    xs, params = case.draw(5)
    with pytest.raises(ValueError, match=f"backend='parallel' cannot run {case.step.__name__}.*no linear function"):
        F.scan(case.step, case.initial(xs), xs, params=params | options(case), backend="parallel")


@pytest.mark.parametrize("reset", [F.to_zero, F.by_subtraction, F.to_value(0.5), F.detached(F.to_zero)], ids=by_name)
def test_a_reset_is_an_error(reset: Any) -> None:
    xs = torch.rand(5, 3)
    with pytest.raises(ValueError, match=r"takes neurons without a reset.*backend='auto'"):
        F.scan(F.if_step, F.zeros_state(F.IFState, xs[0]), xs, params={"reset": reset}, backend="parallel")


def test_a_product_of_matrices_is_an_error() -> None:
    xs: Tensor = torch.rand(5, 3)
    step: Any = F.Recurrent(F.li_step)
    state = F.RecurrentState(F.LIState(torch.zeros(3)), torch.zeros(3))
    params = {"decay": 0.5, "recurrent_weight": torch.ones(3, 3)}
    with pytest.raises(ValueError, match="backend='parallel' cannot run"):
        F.scan(step, state, xs, params=params, backend="parallel")


Both = namedtuple("Both", ["v", "w"])


def test_a_step_of_your_own_whose_decay_depends_on_its_input() -> None:
    def gated(state: Both, x: Tensor) -> tuple[Both, Tensor]:
        v = torch.sigmoid(x) * state.v + x
        w = torch.cos(v) * state.w + state.v * state.v
        return Both(v, w), torch.tanh(w)

    xs = torch.randn(33, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    state = F.zeros_state(Both, xs[0])
    got, want = (F.scan(gated, state, xs, backend=backend) for backend in ("parallel", "loop"))
    assert relative_error(got[1], want[1]) < 1e-12
    assert "tree of depth log2 T" in str(F.explain_scan(gated, state, xs, backend="parallel"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_precision(dtype: torch.dtype) -> None:
    xs = torch.rand(100, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    state = F.zeros_state(F.LIState, xs[0])
    got, want = (F.scan(F.li_step, state, xs, params={"decay": 0.9}, backend=each) for each in ("parallel", "loop"))
    assert got[1].dtype == want[1].dtype == dtype
    assert got[0].v.dtype == torch.float32
    assert relative_error(got[0].v, want[0].v) < 1e-6


def test_under_transforms() -> None:
    xs = torch.rand(6, 9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def loss(x: Tensor, decay: Tensor, backend: Any) -> Tensor:
        rest = F.LIState(torch.zeros(3, dtype=x.dtype))
        return F.scan(F.li_step, rest, x, params={"decay": decay}, backend=backend)[1].square().sum()

    decay = torch.full((), 0.8, dtype=torch.float64)
    for transform in (torch.func.grad, torch.func.hessian, torch.func.jacfwd):
        mapped = torch.func.vmap(transform(loss, argnums=1), (0, None, None))
        assert relative_error(mapped(xs, decay, "parallel"), mapped(xs, decay, "loop")) < 1e-12


One = namedtuple("One", ["v"])


@pytest.mark.parametrize("T", range(1, 12))
def test_every_length(T: int) -> None:
    xs = tuple(torch.rand(2, T, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(T)))
    step, rest = lambda s, x: (One(x[0] * s.v + x[1]), s.v), One(torch.zeros(3).double())
    got, want = (F.scan(step, rest, xs, backend=backend) for backend in BOTH)
    assert relative_error(got[0].v, want[0].v) < 1e-14
    assert relative_error(got[1], want[1]) < 1e-14


# a part of the state without a gradient, and states that are rounded
NOT_LINEAR: list[Any] = [
    lambda s, x: (One(0.5 * s.v.detach() + x), s.v),
    lambda s, x: (One(0.5 * s.v + 0.3 * torch.detach(s.v)), s.v),
    lambda s, x: (One(0.9 * s.v + (x - 0.2 * s.v).detach()), s.v),
    lambda s, x: (One((0.5 * s.v).to(torch.int32).to(torch.float32) + x), s.v),
    lambda s, x: (One(s.v.bool().float() + x), s.v),
]


@pytest.mark.parametrize("step", NOT_LINEAR, ids=range(len(NOT_LINEAR)))
def test_what_only_looks_linear_is_an_error(step: Any) -> None:
    with pytest.raises(ValueError, match="backend='parallel' cannot run"):
        F.scan(step, One(torch.zeros(3)), torch.ones(4, 3), backend="parallel")


@pytest.mark.parametrize("shapes", [((3, 3), (3,)), ((3, 3, 4), (3, 4)), ((5, 3), (5, 1))], ids=str)
def test_inputs_of_other_ranks(shapes: Any) -> None:
    xs = tuple(torch.rand(shape, generator=torch.Generator().manual_seed(k)) for k, shape in enumerate(shapes))
    state = One(torch.zeros(shapes[0][1:]))

    def step(s: One, x: Any) -> Any:
        return One(0.5 * s.v + x[0] * x[1]), s.v

    got, want = (F.scan(step, state, xs, backend=backend)[1] for backend in BOTH)
    assert relative_error(got, want) < 1e-6


def test_results_have_memory_of_their_own() -> None:
    xs, factor = torch.rand(4, 3), torch.rand(3)
    state, (v, x, p) = F.scan(
        lambda s, x, factor: (One(0.5 * s.v + x), (s.v, x, factor)),
        One(torch.zeros(3)),
        xs,
        params={"factor": factor},
        backend="parallel",
    )
    assert (x.shape, p.shape) == ((4, 3), (4, 3))
    kept = [each.clone() for each in (xs, factor, v, state.v)]
    x.add_(5.0)
    state.v.add_(5.0)
    assert torch.equal(xs, kept[0])
    assert torch.equal(factor, kept[1])
    assert torch.equal(v, kept[2])
