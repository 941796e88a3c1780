"""Ways to call a scan under everything that torch offers, each beside a for statement and plain autograd.

A way is given a function of tensors that scans; so is what it has to give, which is asked with a loop in its place.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import checkpoint

from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from spikingtorch.verification.cases import CASES as NEURONS
from tests.every_layer import leaves_of
from tests.fused_steps import N, Pair, counting, draw, flat, gradients, leaky, loop, stack, value, weights

func: Any = torch.func  # its annotations follow the function that is mapped, which lambdas do not have
grad, vmap, vjp, jvp = func.grad, func.vmap, func.vjp, func.jvp
hessian, jacrev, jacfwd = func.hessian, func.jacrev, func.jacfwd
Function = Callable[..., Any]  # of the tensors of a scan
Case = Callable[[Callable[..., Any]], Function]  # from what runs a scan


def scanned(step: Any, state: Any, xs: Any, params: Any = None, dim: int = 0, backend: Any = "auto") -> Any:
    return F.scan(step, state, xs, params=params, dim=dim, backend=backend)


def eager(function: Function) -> Function:
    return function


def compiled(function: Any) -> Any:
    torch.compiler.reset()
    return torch.compile(function, backend="aot_eager", fullgraph=True)


def number(function: Function) -> Callable[..., Tensor]:
    """Return the number that depends on all results of a function."""
    return lambda *tensors: value(function(*tensors))


def vector(function: Function) -> Callable[..., Tensor]:
    return lambda *tensors: flat(function(*tensors))


def watched(tensors: Iterable[Tensor]) -> list[Tensor]:
    return [tensor.detach().clone().requires_grad_() for tensor in tensors]


# --- what autograd gives ----------------------------------------------------------------------------------------------


def results(function: Function, *x: Tensor) -> Any:
    return function(*x)


def slopes(function: Function, *x: Tensor) -> Any:
    return gradients(number(function), *x)


def second_order(function: Function, *x: Tensor) -> Any:
    """Return the gradients of a number that depends on all gradients; their cotangents depend on the results."""

    def first(*x: Tensor) -> Any:
        return torch.autograd.grad(number(function)(*x).square(), x, create_graph=True, materialize_grads=True)

    return gradients(number(first), *x)


def on_vectors(of: Function) -> Function:
    """Return what calls ``of`` with the function as one of a single vector to a single vector, and the vector."""

    def call(function: Function, *x: Tensor) -> Any:
        def unpacked(numbers: Tensor) -> Tensor:
            parts = zip(numbers.split([leaf.numel() for leaf in x]), x, strict=True)
            return flat(function(*[part.reshape(leaf.shape) for part, leaf in parts]))

        return of(unpacked, flat(x))

    return call


@on_vectors
def jacobian(function: Function, x: Tensor) -> Tensor:
    (leaf,) = watched([x])
    return torch.stack([torch.autograd.grad(entry, leaf, retain_graph=True)[0] for entry in function(leaf)])


@on_vectors
def curvature(function: Function, x: Tensor) -> Tensor:
    (leaf,) = watched([x])
    (first,) = torch.autograd.grad(value(function(leaf)), leaf, create_graph=True)
    return torch.stack([torch.autograd.grad(entry, leaf, retain_graph=True)[0] for entry in first])


def both(function: Function, *x: Tensor) -> Any:
    """Return results and gradients, of one call."""
    leaves = watched(x)
    found = flat(function(*leaves))
    return found.detach(), torch.autograd.grad(value(found), leaves, materialize_grads=True)


def tangents(function: Function, *x: Tensor) -> Any:
    return flat(function(*x)), jacobian(function, *x).sum(1)


def for_each(of: Function) -> Function:
    """Return what calls a function for one member after the other."""
    return lambda function, dims, *x: stack([of(function, *member) for member in members(dims, x)])


def members(dims: Any, x: Iterable[Tensor]) -> list[list[Tensor]]:
    pairs = list(zip(x, dims, strict=True))
    (count,) = {leaf.shape[dim] for leaf, dim in pairs if dim is not None}
    return [[leaf if dim is None else leaf.select(dim, n) for leaf, dim in pairs] for n in range(count)]


def summed(function: Function, dims: Any, *x: Tensor) -> Any:
    pairs = zip(for_each(slopes)(function, dims, *x), dims, strict=True)
    return tuple([leaf.sum(0) if dim is None else leaf.movedim(0, dim) for leaf, dim in pairs])


# --- the same in other ways -------------------------------------------------------------------------------------------


def unrecorded(mode: Callable[[], Any]) -> Function:
    def call(function: Function, *x: Tensor) -> Any:
        leaves = watched(x)
        with mode():
            found = function(*leaves)
        kinds = {(leaf.requires_grad, leaf.is_inference()) for leaf in pytree.tree_leaves(found)}
        assert kinds == {(False, mode is torch.inference_mode)}
        return found

    return call


@torch.no_grad()
def of_inference_tensors(function: Function, *x: Tensor) -> Any:
    with torch.inference_mode():
        copies = [leaf.clone() for leaf in x]
    return function(*copies)


def within(context: Callable[[], Any]) -> Function:
    def call(function: Function, *x: Tensor) -> Any:
        with context():
            return slopes(function, *x)

    return call


def twice_backward(function: Function, *x: Tensor) -> Any:
    leaves = watched(x)
    total = number(function)(*leaves)
    found = [torch.autograd.grad(total, leaves, retain_graph=k < 2, materialize_grads=True) for k in (1, 2)]
    assert all(map(torch.equal, *found))
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        total.backward()
    return found[1]


def accumulated(through: Callable[[Function], Function]) -> Function:
    def call(function: Function, *x: Tensor) -> Any:
        leaves = watched(x)
        for _ in range(2):
            number(through(function))(*leaves).backward()
        return tuple([torch.zeros_like(leaf) if leaf.grad is None else leaf.grad / 2 for leaf in leaves])

    return call


def checkpointed(reentrant: bool) -> Function:
    return accumulated(lambda function: lambda *x: checkpoint(vector(function), *x, use_reentrant=reentrant))


def first_of_two(function: Function, *x: Tensor) -> Any:
    leaves = watched(x)
    found = torch.autograd.grad(number(function)(*leaves), leaves, create_graph=True, materialize_grads=True)
    return tuple([leaf.detach() for leaf in found])


def by_grad(function: Function, *x: Tensor) -> Any:
    return grad(number(function), tuple(range(len(x))))(*x)


def by_vjp(function: Function, *x: Tensor) -> Any:
    found, pull = vjp(vector(function), *x)
    return found, pull(weights(len(found)).to(found.device))


def written_down(way: Function, **options: Any) -> Function:
    """Return what calls a function by its graph, which ``make_fx`` has written down for other numbers."""

    def call(function: Function, *x: Tensor) -> Any:
        others = [leaf.flip(0) for leaf in x]
        return make_fx(lambda *x: way(function, *x), **options)(*others)(*x)

    return call


@on_vectors
def by_dual_numbers(function: Function, x: Tensor) -> Any:
    with forward_ad.dual_level():
        return tuple(forward_ad.unpack_dual(function(forward_ad.make_dual(x, torch.ones_like(x)))))


def by_vmap_of_grad(function: Function, dims: Any, *x: Tensor, chunk: int | None = None) -> Any:
    return vmap(lambda *x: by_grad(function, *x), dims, chunk_size=chunk)(*x)


def by_vmap(function: Function, dims: Any, *x: Tensor) -> Any:
    return vmap(function, dims)(*x)


def second_of(mapped: Function) -> Function:
    """Return what differentiates twice what maps a function."""
    return lambda function, dims, *x: second_order(lambda *x: mapped(function, dims, *x), *x)


def by_grad_of_vmap(function: Function, dims: Any, *x: Tensor) -> Any:
    return grad(lambda *x: vmap(number(function), dims)(*x).sum(), tuple(range(len(x))))(*x)


# --- all of them ------------------------------------------------------------------------------------------------------


class Way(NamedTuple):
    """A way to call a scan.

    Attributes:
        by: what calls a function with tensors; with axes of vmap before them where they are mapped.
        want: the same by plain autograd.
        kernels: how many are launched forward and backward; none where the loop is the way.
    """

    by: Function
    want: Function = slopes
    kernels: tuple[int, int] = (1, 1)

    def agree(self, case: Case, *given: Any) -> None:
        """Assert that the way gives what it has to, whatever runs it."""
        want = self.want(case(loop), *given)
        assert any([leaf.any() for leaf in pytree.tree_leaves(want)])
        for _ in range(2):
            assert_close(self.by(case(scanned), *given), want)

    def check(self, case: Case, *given: Any, first: bool = False) -> None:
        """Assert that the way gives what it has to, each time, by kernels; and if it is the first, by one trace."""
        want, backends = self.want(case(loop), *given), set()

        def noted(step: Any, state: Any, xs: Any, params: Any = None, dim: int = 0) -> Any:
            backends.add(F.explain_scan(step, state, xs, params=params, dim=dim).backend)
            return scanned(step, state, xs, params, dim)

        assert max(leaf.abs().max() for leaf in pytree.tree_leaves(want)) > 0
        fused = self.kernels != LOOP
        for traces in (first, 0) if fused else (0,):
            with counting() as ran:
                got = self.by(case(noted), *given)
            assert_close(got, want)
            assert (ran.forward, ran.backward) == self.kernels
            assert not first or ran.traces == traces
        assert backends == {"fused" if fused else "loop"}


LOOP = (0, 0)
WAYS = {
    "plain": Way(results, results, (1, 0)),
    "no_grad": Way(unrecorded(torch.no_grad), results, (1, 0)),
    "inference": Way(unrecorded(torch.inference_mode), results, (1, 0)),
    "inference tensors": Way(of_inference_tensors, results, (1, 0)),
    "autograd": Way(slopes),
    "autocast": Way(within(lambda: torch.autocast("cpu", dtype=torch.bfloat16))),
    "hooks": Way(within(lambda: saved_tensors_hooks(torch.clone, torch.clone))),
    "save_on_cpu": Way(within(save_on_cpu)),
    "two backward passes": Way(twice_backward, kernels=(1, 2)),
    "accumulated": Way(accumulated(lambda function: function), kernels=(2, 2)),
    "checkpoint": Way(checkpointed(False), kernels=(4, 2)),
    "reentrant checkpoint": Way(checkpointed(True), kernels=(4, 2)),
    "create_graph": Way(first_of_two, kernels=(1, 0)),
    "double backward": Way(second_order, second_order, (1, 1)),
    "grad": Way(by_grad),
    "vjp": Way(by_vjp, both),
    "jacrev": Way(on_vectors(lambda f, x: jacrev(f)(x)), jacobian),
    "jacfwd": Way(on_vectors(lambda f, x: jacfwd(f)(x)), jacobian, LOOP),
    "jvp": Way(on_vectors(lambda f, x: jvp(f, (x,), (torch.ones_like(x),))), tangents, LOOP),
    "dual numbers": Way(by_dual_numbers, tangents, LOOP),
    "make_fx": Way(written_down(results), results, (2, 0)),
    "make_fx before dispatch": Way(written_down(results, pre_dispatch=True), results, (2, 0)),
    "make_fx of grad": Way(written_down(by_grad), kernels=(2, 2)),
    "hessian": Way(on_vectors(lambda f, x: hessian(number(f))(x)), curvature, LOOP),
    "jacrev(jacrev)": Way(on_vectors(lambda f, x: jacrev(jacrev(number(f)))(x)), curvature, LOOP),
    "jacrev(grad)": Way(on_vectors(lambda f, x: jacrev(grad(number(f)))(x)), curvature, LOOP),
}
MAPS = {
    "vmap": Way(by_vmap, for_each(results), (1, 0)),
    "vmap(grad)": Way(by_vmap_of_grad, for_each(slopes)),
    "grad(vmap)": Way(by_grad_of_vmap, summed),
    "double backward of vmap": Way(second_of(by_vmap), second_of(for_each(results)), (1, 1)),
}

# --- cases ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scan:
    """A scan: a step; state, inputs and parameters by a seed; and the axis of time."""

    step: Any
    draw: Callable[[int], tuple[Any, Any, Any]]
    dim: int = 0

    def __call__(self, run: Callable[..., Any]) -> Function:
        """Return the scan as a function of its tensors."""
        leaves, form = pytree.tree_flatten(self.draw(0))

        def function(*tensors: Tensor) -> Any:
            given = list(tensors)
            filled_in = [given.pop(0) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
            return run(self.step, *pytree.tree_unflatten(filled_in, form), self.dim)

        return function

    def tensors(self, seed: int = 0) -> list[Tensor]:
        return leaves_of(self.draw(seed))

    def members(self, roles: str) -> tuple[Any, ...]:
        """Return axes of vmap, and tensors: those of roles, (s)tate, x or (p)arameters, of three members in a stack."""
        trees = zip("sxp", self.draw(0), strict=True)
        dims = [0 if role in roles else None for role, tree in trees for _ in leaves_of(tree)]
        several = zip(*map(self.tensors, range(3)), dims, strict=True)
        return tuple(dims), *[each[0] if dim is None else torch.stack(each) for *each, dim in several]


def synaptic(state: Pair, x: tuple[Tensor, Tensor], *, alpha: Any, beta: Any, gain: float) -> Any:
    """A neuron with two of each: states, inputs and results."""
    i = alpha * state.i + x[0]
    u = beta * state.v + torch.tanh(i) * x[1]
    spike = F.Sigmoid(3.0)(u - 0.4)
    return Pair(u - 0.4 * spike, i), (spike, gain * u * i)


def _leaky(seed: int) -> tuple[Any, Any, Any]:
    params = {"decay": draw(N, seed=seed + 30), "threshold": 0.5 + draw(N, seed=seed + 40)}
    return F.IFState(draw(N, seed=seed + 10)), draw(seed=seed), params


def _synaptic(seed: int) -> tuple[Any, Any, Any]:
    state, xs = Pair(draw(2, 2, seed=seed + 10), draw(2, 2, seed=seed + 20)), draw(2, 2, 2, 5, seed=seed)
    params = {"alpha": draw(2, seed=seed + 30), "beta": draw(2, 1, seed=seed + 40), "gain": 1.5}
    return state, (xs[0], xs[1].mT.contiguous().mT), params


def neuron(name: str, steps: int = 4) -> Scan:
    (found,) = [each for each in NEURONS if each.name == name]

    def drawn(seed: int) -> tuple[Any, Any, Any]:
        xs, params = found.draw(steps, seed)
        return found.initial(xs), xs, params

    return Scan(found.step, drawn)


SCANS = {"leaky": Scan(leaky, _leaky), "synaptic": Scan(synaptic, _synaptic, -1)}
SCANS |= {each.name: neuron(each.name) for each in NEURONS}
# one of each kind of program: states, inputs, functions; the others differ from these in their equation alone
KINDS = {"leaky", "synaptic", "lif", "coarse_lif", "biolif", "mcpitts", "li", "adex", "stochastic_lif", "delay"}


def pairs(ways: Collection[str], turns: int = 6) -> list[tuple[str, str]]:
    """Return scans with ways: for one of each kind all ways, for the others one in some, others for each of them."""
    return [
        (scan, way)
        for row, scan in enumerate(SCANS)
        for column, way in enumerate(ways)
        if scan in KINDS or (row + column) % turns == 0
    ]
