"""The fused scan under vmap along every axis, in nested and second gradients, and the life of its graph."""

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.performance import clear_caches
from spikingtorch.testing import assert_close
from tests import ways
from tests.fused_steps import N, T, draw, gradients, leaky, loop, rest, stack, value
from tests.surroundings import saved_by
from tests.ways import MAPS, WAYS, Case, Function, Way, grad, number, scanned, slopes, vmap, watched

B = 3
TENSORS = {"v": draw(B, N), "x": draw(B, T, N, seed=1), "decay": draw(B, N, seed=2), "threshold": draw(B, N, seed=3)}
V, X, DECAY, THRESHOLD = (tensor[0] for tensor in TENSORS.values())


def of(*names: str, dim: int = 0, **fixed: Any) -> Case:
    """Return a scan as a function of the named tensors."""

    def case(run: Callable[..., Any]) -> Function:
        def function(*tensors: Tensor) -> Any:
            given = {"v": V, "x": X, "decay": DECAY, "threshold": THRESHOLD} | fixed
            given |= dict(zip(names, tensors, strict=True))
            state, xs = F.IFState(given.pop("v")), given.pop("x")
            return run(leaky, state, xs, given, dim)

        return function

    return case


# --- vmap -------------------------------------------------------------------------------------------------------------


def mapped() -> Iterator[Any]:
    """Return scans, with axes for vmap and tensors."""
    for dims in list(itertools.product([None, 0], repeat=4))[1:]:
        given = [tensor if dim == 0 else tensor[0] for tensor, dim in zip(TENSORS.values(), dims, strict=True)]
        yield pytest.param(of(*TENSORS), dims, given, id=f"mapped {dims}")
    for dim, axis in itertools.product((0, 1, 2, -1), range(4)):
        xs = draw(B, T, 2, N, seed=4).movedim(1, dim if dim < 0 else dim + 1).movedim(0, axis)
        yield pytest.param(of("x", v=draw(2, N), dim=dim), (axis,), [xs], id=f"time {dim}, members {axis}")
    for shape, axis in itertools.product([(), (1,), (N,)], (0, -1)):
        decay = draw(B, *shape, seed=12).movedim(0, axis)
        yield pytest.param(of("decay"), (axis,), [decay], id=f"parameter {shape}, members {axis}")
    one = of("decay", x=draw(T, 1), threshold=0.7, v=rest(1).v)
    yield pytest.param(one, (0,), [draw(B, 1)], id="one neuron")
    bare = of("x", decay=0.9, threshold=0.7, v=draw(1)[0])
    yield pytest.param(bare, (0,), [draw(B, T)], id="neurons without axes")


@pytest.mark.sampled
@pytest.mark.parametrize(("case", "dims", "given"), list(mapped()))
def test_vmap(case: Case, dims: Any, given: list[Tensor]) -> None:
    for way in MAPS.values():
        way.check(case, dims, *given)


@pytest.mark.parametrize("sizes", [(1, 3), (3, 1), (2, 3), (1, 1)])
def test_vmap_of_vmap(sizes: tuple[int, int]) -> None:
    def nested(each: Callable[[Function], Function]) -> Function:
        return lambda function, x, decay: vmap(vmap(each(function), (0, None)), (None, 0))(x, decay)

    def looped(each: Callable[[Function], Function]) -> Function:
        return lambda function, x, decay: stack([stack([each(function)(one, d) for one in x]) for d in decay])

    given = draw(sizes[1], T, N, seed=20), draw(sizes[0], N, seed=21)
    Way(nested(lambda f: f), looped(lambda f: f), (1, 0)).check(of("x", "decay"), *given)
    gradient, by_loop = nested(lambda f: grad(number(f), (0, 1))), looped(lambda f: partial(slopes, f))
    Way(gradient, by_loop).check(of("x", "decay"), *given)


@pytest.mark.parametrize("chunk", [1, 2])
def test_in_chunks(chunk: int) -> None:
    def count(members: int) -> int:
        return math.ceil(members / chunk)

    way = Way(partial(ways.by_vmap_of_grad, chunk=chunk), ways.for_each(slopes), (count(B), count(B)))
    way.check(of("x", "decay"), (0, None), TENSORS["x"], DECAY)
    by_rows = ways.on_vectors(lambda function, x: ways.jacrev(function, chunk_size=chunk)(x))
    Way(by_rows, ways.jacobian, (1, count(N + 4 * N))).check(of("x"), X[:4])


def test_cotangents_that_are_mapped_alone() -> None:
    def pulled(function: Function, cotangents: Tensor, *x: Tensor) -> Any:
        return vmap(ways.vjp(ways.vector(function), *x)[1])(cotangents)

    def one_by_one(function: Function, cotangents: Tensor, *x: Tensor) -> Any:
        return stack([gradients(lambda *x, c=c: ways.vector(function)(*x) @ c, *x) for c in cotangents])

    Way(pulled, one_by_one).check(of("x", "decay"), draw(B, N + T * N, seed=40), X, DECAY)


# --- gradients inside of gradients ------------------------------------------------------------------------------------


def test_grad_of_vmap_of_grad_takes_the_loop() -> None:
    def by(function: Function, xs: Tensor, decay: Tensor) -> Any:
        return grad(lambda decay: value(vmap(grad(number(function)), (0, None))(xs, decay)))(decay)

    def want(function: Function, xs: Tensor, decay: Tensor) -> Any:
        def inner(decay: Tensor) -> Tensor:
            return value([slope(lambda x: number(function)(x, decay), x) for x in watched(xs)])

        return gradients(inner, decay)[0]

    Way(by, want, ways.LOOP).check(of("x", "decay"), TENSORS["x"], DECAY)


def slope(function: Callable[..., Tensor], leaf: Tensor) -> Tensor:
    """Return a gradient that can be differentiated again, by plain autograd."""
    return torch.autograd.grad(function(leaf), leaf, create_graph=True)[0]


@pytest.mark.usefixtures("warn_anew")
@pytest.mark.parametrize("outer", ["decay", "threshold"])
def test_a_gradient_inside_and_one_outside(outer: str) -> None:
    """As in MAML: the outer backward pass goes through the inner gradient, which may close over a leaf of its graph."""
    found: list[Any] = []
    for run in (scanned, loop):
        leaves = {"decay": DECAY.clone(), "threshold": THRESHOLD.clone()}
        leaves[outer].requires_grad_()
        function = number(of("decay", threshold=leaves["threshold"])(run))
        if run is loop:
            inner = slope(function, leaves["decay"].requires_grad_())
        else:
            with pytest.warns(RuntimeWarning, match="requires a gradient outside"):
                inner = grad(function)(leaves["decay"])
        found.append(torch.autograd.grad(inner.square().sum(), leaves[outer])[0])
    assert found[1].abs().sum() > 0
    assert_close(*found)


def test_a_parameter_of_a_model_under_grad_without_an_outer_graph() -> None:
    """Parameters that require a gradient are no reason for the loop where nobody records one."""

    def unrecorded(function: Function, x: Tensor) -> Any:
        with torch.no_grad():
            return grad(number(function))(x)

    way = Way(unrecorded, lambda function, x: slopes(function, x)[0])
    way.check(of("x", decay=torch.nn.Parameter(DECAY.clone())), X)


# --- the life of a graph ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [T, 100])
@pytest.mark.parametrize("calls", [0, 1])
def test_saves_its_inputs_and_one_state_in_sixteen(steps: int, calls: int) -> None:
    clear_caches()
    params = {"decay": DECAY, "threshold": THRESHOLD}
    state, (xs,) = rest(), watched([draw(steps, N)])
    for _ in range(calls):  # the first one of all traces under the hooks
        scanned(leaky, state, xs, params)
    kept = saved_by(lambda: scanned(leaky, state, xs, params))
    assert sorted(tuple(tensor.shape) for tensor in kept) == sorted([(steps, N), (N,), (N,), (N,), (steps // 16, N)])
    inputs = {tensor.data_ptr() for tensor in (xs, state.v, *params.values())}
    assert inputs <= {tensor.data_ptr() for tensor in kept}  # themselves, no copies of them


@pytest.mark.parametrize("which", ["x", "decay", "v"])
def test_a_write_on_an_input_is_noticed(which: str) -> None:
    leaf = {"v": V, "x": X, "decay": DECAY}[which].clone()
    out = of(which, threshold=THRESHOLD.clone().requires_grad_())(scanned)(leaf)[1]
    leaf.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


@pytest.mark.parametrize("folded", [False, True])
def test_a_batch_of_gradients_of_autograd_is_refused(folded: bool) -> None:
    """Its vmap knows no Function; that of torch.func does."""
    x = torch.rand(2, 3, 4, requires_grad=True)
    model = st.SpikingNet(nn.Sequential(st.LIF()), 4)
    out = (
        model(x)
        if folded
        else F.scan(F.lif_step, F.LIFState(torch.zeros(3, 4)), x, params={"decay": 0.9, "threshold": 1.0})[1]
    )
    with pytest.raises(RuntimeError, match=r"takes no batch of gradients.*torch\.func\.jacrev"):
        torch.autograd.grad(out, x, torch.ones(5, *out.shape), is_grads_batched=True)


def test_a_tensor_in_two_places() -> None:
    def two_places(run: Callable[..., Any]) -> Function:
        return lambda a: run(F.lif_step, F.LIFState(a), draw(T, 3, N), {"decay": 0.5, "threshold": a})

    WAYS["double backward"].check(two_places, draw(3, N))


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
