"""Recurrent steps in every way that torch has of calling and differentiating a function."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import checkpoint

from spikingtorch import functional as F
from spikingtorch.functional.fused.recurrent import c_loop
from spikingtorch.testing import assert_close
from tests.functional.fused.recurrent import cases
from tests.functional.fused.recurrent.cases import (
    BACKENDS,
    FEW,
    LENGTHS,
    Case,
    Run,
    draw,
    of_tensors,
    on,
    outcome,
    slopes,
    written_on,
)
from tests.fused import Scan
from tests.fused_steps import stack, value

pytestmark = pytest.mark.usefixtures("one_thread")
few_cases = cases.each_of(FEW)


def leaves_of(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.clone().requires_grad_() for tensor in tensors]


def cast(backend: Any) -> Run:
    def run(scan: Scan) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return scan.run(backend)

    return run


def streamed(backend: Any) -> Run:
    def run(scan: Scan) -> Any:
        state, parts = scan.state, []
        for piece in (scan.xs[:1], scan.xs[1:4], scan.xs[4:4], scan.xs[4:]):
            state, outs = scan._replace(state=state, xs=piece).run(backend)
            parts.append(outs)
        return state, torch.cat(parts)

    return run


WAYS: dict[str, Run] = {
    **{f"a stream, {backend}": streamed(backend) for backend in BACKENDS},
    **{f"autocast, {backend}": cast(backend) for backend in BACKENDS},
    "checkpoint": lambda scan: checkpoint(scan.run, "fused", use_reentrant=False),
    "checkpoint, auto": lambda scan: checkpoint(scan.run, "auto", use_reentrant=False),
    "compiled": cases.compiled,
}


@pytest.mark.sampled
@pytest.mark.parametrize("way", WAYS)
@few_cases
def test_every_way_is_the_loop(case: Case, way: str) -> None:
    dtype, shape = (torch.float32, case.shape) if "autocast" in way else (torch.float64, ())
    scan = draw(case, 7, dtype=dtype, decay=shape, threshold=shape)
    assert_close(outcome(scan, WAYS[way]), outcome(scan, on("loop")))


ALONE = [Case("dense-alone", F.dense, (1, 5), (5, 5)), Case("conv-alone", F.convolution, (1, 4, 6), (4, 2, 3))]


@pytest.mark.parametrize("fewest", [1, 1000])
@cases.each_of([*FEW, *ALONE])
def test_writing_on_results(case: Case, fewest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves alone what is saved for the gradient, and the other results."""

    monkeypatch.setattr(c_loop, "FEWEST", fewest)
    for steps, dim in itertools.product(LENGTHS, (0, 1, -1)):
        scan = draw(case, steps)
        scan = scan._replace(xs=scan.xs.movedim(0, dim), dim=dim)
        assert_close(outcome(scan, written_on), outcome(scan, on("loop")))
        assert_close(written_on(scan), scan.run("loop"))


@few_cases
def test_no_gradient_is_asked_for(case: Case) -> None:
    cases.assert_no_gradient_is_asked_for(draw(case, 3))


@few_cases
def test_backward_again_and_again(case: Case) -> None:
    function, tensors = of_tensors(draw(case, 5), on("fused"))
    leaves = leaves_of(tensors)
    for _ in range(2):
        results = function(*leaves)
        value(results).backward(retain_graph=True)
        (3 * value(results)).backward()
        with pytest.raises(RuntimeError, match="second time"):
            value(results).backward()
    assert_close([leaf.grad for leaf in leaves], [8 * g for g in slopes(draw(case, 5), on("loop"))])


def test_the_weight_has_changed_before_backward() -> None:
    scan, leaves = draw(FEW[0], 4).watched()
    loss = scan.run("fused")[1].sum()
    with torch.no_grad():
        leaves["['params']['recurrent_weight']"].mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@few_cases
def test_second_derivatives(case: Case) -> None:
    def second(run: Run) -> tuple[Tensor, ...]:
        function, tensors = of_tensors(draw(case, 3), run)
        leaves = leaves_of(tensors)
        firsts = torch.autograd.grad(value(function(*leaves)), leaves, create_graph=True)
        return torch.autograd.grad([(first**2).sum() for first in firsts], leaves)

    want = second(cases.unrolled)
    assert_close(second(on("loop")), want)
    assert_close(second(on("fused")), want)


@pytest.mark.parametrize("backend", ["fused", "auto"])
@few_cases
def test_reentrant_checkpoint(case: Case, backend: Any) -> None:
    function, tensors = of_tensors(draw(case, 5), lambda scan: tuple(pytree.tree_leaves(scan.run(backend))))
    leaves = leaves_of(tensors)
    value(checkpoint(function, *leaves, use_reentrant=True)).backward()
    assert_close([leaf.grad for leaf in leaves], slopes(draw(case, 5), on("loop")))


def transformed(case: Case, backend: Any) -> dict[str, Callable[[], Any]]:
    """Return a scan under transforms, by name."""
    func: Any = torch.func
    function, tensors = of_tensors(draw(case, 4), on(backend))
    v, s, xs, decay, threshold, weight = tensors
    many, weights = torch.stack([xs, xs.flip(0), xs / 2]), torch.stack([weight, 2 * weight, -weight])

    def results(weight: Tensor = weight, xs: Tensor = xs, s: Tensor = s) -> Any:
        return function(v, s, xs, decay, threshold, weight)

    def total(*given: Tensor) -> Tensor:
        return value(results(*given))

    def forward_mode() -> Any:
        dual = torch.autograd.forward_ad
        with dual.dual_level():
            found = pytree.tree_leaves(results(s=dual.make_dual(s, torch.ones_like(s))))
            return [dual.unpack_dual(each).tangent for each in found]

    gradient = func.grad(total, (0, 1, 2))
    return {
        "grad": lambda: gradient(weight, xs, s),
        "vmap": lambda: func.vmap(lambda xs: results(xs=xs))(many),
        "vmap of grad": lambda: func.vmap(gradient, (None, 0, None))(weight, many, s),
        "vmap over weights": lambda: func.vmap(gradient, (0, None, None))(weights, xs, s),
        "jvp": lambda: func.jvp(results, (weight,), (weight.cos(),)),
        "jacrev": lambda: func.jacrev(total, (0, 1))(weight, xs),
        "hessian": lambda: func.grad(lambda w: (func.grad(total)(w, xs) ** 2).sum())(weight),
        "forward mode": forward_mode,
    }


@few_cases
def test_transforms(case: Case) -> None:
    looped = transformed(case, "loop")
    for way, found in transformed(case, "auto").items():
        want = looped[way]()
        assert any(leaf.any() for leaf in pytree.tree_leaves(want)), way
        assert_close(found(), want, way)
    xs = draw(case, 4).xs
    each = [cases.oracle(draw(case, 4)._replace(xs=one)) for one in (xs, xs.flip(0), xs / 2)]
    assert_close(transformed(case, "auto")["vmap"](), stack(each))
