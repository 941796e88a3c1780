"""torch.func, autograd's own machinery and torch.export over the fused scan, by value, against loops of plain autograd.

Every test also counts the kernels that were launched: a test of the fused backend that ran the loop shows nothing.
"""

import itertools
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import checkpoint

from spikingtorch import functional as F
from spikingtorch.functional.dispatch import explain
from spikingtorch.functional.dispatch.call import Call
from spikingtorch.functional.fused.trace import programs
from spikingtorch.testing import assert_close
from tests.caches import forget
from tests.fused_steps import (
    Counts,
    N,
    Pair,
    T,
    counting,
    draw,
    gradients,
    leaky,
    loop,
    rest,
    stack,
    synaptic,
    value,
)

func: Any = torch.func  # its annotations follow the function that is mapped, which lambdas do not have
grad, vmap, vjp, jvp, functional_call = func.grad, func.vmap, func.vjp, func.jvp, func.functional_call
hessian, jacrev, jacfwd = func.hessian, func.jacrev, func.jacfwd

B = 3
X = draw()
XB = draw(B, T, N, seed=1)
DECAY = draw(N, seed=2)
THRESHOLD = 0.5 + draw(N, seed=3)


@pytest.fixture
def ran() -> Iterator[Counts]:
    with counting() as counts:
        yield counts


@pytest.fixture
def unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every call of a step its first one."""
    forget(monkeypatch)


def scanned(x: Tensor, decay: Any = DECAY, threshold: Any = THRESHOLD, v: Tensor | None = None, dim: int = 0) -> Any:
    state = rest() if v is None else F.IFState(v)
    return F.scan(leaky, state, x, params={"decay": decay, "threshold": threshold}, dim=dim)


def looped(x: Tensor, decay: Any = DECAY, threshold: Any = THRESHOLD, v: Tensor | None = None, dim: int = 0) -> Any:
    state = rest() if v is None else F.IFState(v)
    return loop(leaky, state, x, {"decay": decay, "threshold": threshold}, dim)


def of(run: Callable[..., Any]) -> Callable[..., Tensor]:
    """Return the number that depends on all results of a run."""

    def number(*args: Any, **kwargs: Any) -> Tensor:
        return value(run(*args, **kwargs))

    return number


# --- reverse mode -----------------------------------------------------------------------------------------------------


def test_autograd(ran: Counts) -> None:
    want = gradients(of(looped), X, DECAY, THRESHOLD, rest().v)
    got = gradients(of(scanned), X, DECAY, THRESHOLD, rest().v)
    assert_close(got, want)
    assert all(leaf.abs().sum() > 0 for leaf in want)
    assert (ran.forward, ran.backward) == (1, 1)


def test_the_node_of_the_graph() -> None:
    state, out = scanned(X.clone().requires_grad_())
    for leaf in (state.v, out):
        assert leaf.grad_fn is not None
        assert leaf.grad_fn.name().startswith("FusedScan")


@pytest.mark.parametrize("wanted", list(itertools.product([False, True], repeat=4))[1:])
def test_every_combination_of_gradients(ran: Counts, wanted: tuple[bool, ...]) -> None:
    inputs = [X, DECAY, THRESHOLD, rest().v]
    which = [k for k, want in enumerate(wanted) if want]

    def only(run: Callable[..., Any]) -> list[Tensor]:
        leaves = [leaf.clone().requires_grad_(want) for leaf, want in zip(inputs, wanted, strict=True)]
        return list(torch.autograd.grad(value(run(*leaves)), [leaves[k] for k in which]))

    assert_close(only(scanned), only(looped))
    assert (ran.forward, ran.backward) == (1, 1)


def test_grad(ran: Counts) -> None:
    got = grad(of(scanned), argnums=(0, 1, 2, 3))(X, DECAY, THRESHOLD, rest().v)
    assert_close(got, gradients(of(looped), X, DECAY, THRESHOLD, rest().v))
    assert (ran.forward, ran.backward) == (1, 1)


def test_vjp(ran: Counts) -> None:
    cotangents = F.IFState(draw(N, seed=5)), draw(T, N, seed=6)
    results, pull = vjp(scanned, X, DECAY)
    got = pull(cotangents)

    def product(x: Tensor, decay: Tensor) -> Tensor:
        state, out = looped(x, decay)
        found: Tensor = (state.v * cotangents[0].v).sum() + (out * cotangents[1]).sum()
        return found

    assert_close(results, looped(X, DECAY))
    assert_close(got, gradients(product, X, DECAY))
    assert (ran.forward, ran.backward) == (1, 1)


@pytest.mark.parametrize("chunk", [None, 1, 4])
def test_jacrev(ran: Counts, chunk: int | None) -> None:
    short = X[:4]
    got = jacrev(lambda *inputs: scanned(*inputs)[1], argnums=(0, 1, 2, 3), chunk_size=chunk)(
        short, DECAY, THRESHOLD, rest().v
    )
    rows = [
        gradients(lambda *inputs, i=i: looped(*inputs)[1].flatten()[i], short, DECAY, THRESHOLD, rest().v)
        for i in range(4 * N)
    ]
    want = tuple(row.reshape(4, N, *row.shape[1:]) for row in stack(rows))
    assert_close(got, want)
    assert ran.forward == 1
    assert ran.backward == (1 if chunk is None else math.ceil(4 * N / chunk))


def test_several_states_and_outputs(ran: Counts) -> None:
    state = Pair(rest().v, draw(N, seed=8))
    params = {"alpha": DECAY, "beta": draw(N, seed=9)}

    def function(run: Callable[..., Any]) -> Callable[..., Tensor]:
        return lambda xs, state, params: value(run(synaptic, state, xs, params))

    def fused(step: Any, state: Any, xs: Any, params: Any) -> Any:
        return F.scan(step, state, xs, params=params)

    want = gradients(function(loop), X, state, params)
    assert_close(grad(function(fused), argnums=(0, 1, 2))(X, state, params), want)
    assert_close(
        vmap(grad(function(fused), argnums=2), in_dims=(0, None, None))(XB, state, params),
        stack([gradients(function(loop), x, state, params)[2] for x in XB]),
    )
    assert (ran.forward, ran.backward) == (2, 2)


# --- vmap -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("out_axis", [0, 1, 2, -1])
def test_vmap_axes(ran: Counts, axis: int, out_axis: int) -> None:
    xs = XB.movedim(0, axis)
    got = vmap(lambda x: scanned(x)[1], in_dims=axis, out_dims=out_axis)(xs)
    assert_close(got, torch.stack([looped(x)[1] for x in XB]).movedim(0, out_axis))
    assert ran.forward == 1


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_vmap_with_time_anywhere(ran: Counts, dim: int, axis: int) -> None:
    xs = draw(B, T, 2, N, seed=4).movedim(1, dim if dim < 0 else dim + 1)
    v = draw(2, N, seed=7)

    def each(run: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x: run(x, DECAY, THRESHOLD, v, dim)

    got = vmap(each(scanned), in_dims=axis)(xs.movedim(0, axis))
    assert_close(got, stack([each(looped)(x) for x in xs]))
    slopes = vmap(grad(of(each(scanned))), in_dims=axis)(xs.movedim(0, axis))
    assert_close(slopes, torch.stack([gradients(of(each(looped)), x)[0] for x in xs]))
    assert (ran.forward, ran.backward) == (2, 1)


@pytest.mark.parametrize("shape", [(), (1,), (N,)])
@pytest.mark.parametrize("axis", [0, -1])
def test_vmap_over_parameters(ran: Counts, shape: tuple[int, ...], axis: int) -> None:
    members = draw(B, *shape, seed=12)
    got = vmap(lambda decay: scanned(X, decay), in_dims=axis)(members.movedim(0, axis))
    assert_close(got, stack([looped(X, decay) for decay in members]))
    slopes = vmap(grad(lambda decay: value(scanned(X, decay))), in_dims=axis)(members.movedim(0, axis))
    assert_close(slopes, torch.stack([gradients(lambda d: value(looped(X, d)), decay)[0] for decay in members]))
    assert (ran.forward, ran.backward) == (2, 1)


def test_vmap_over_the_parameters_of_one_neuron(ran: Counts) -> None:
    xs, v, members = draw(T, 1, seed=13), rest(1).v, draw(B, 1, seed=12)

    def each(run: Callable[..., Any]) -> Callable[..., Any]:
        return lambda decay: run(xs, decay, 0.7, v)

    assert_close(vmap(each(scanned))(members), stack([each(looped)(decay) for decay in members]))
    want = torch.stack([gradients(of(each(looped)), decay)[0] for decay in members])
    assert_close(vmap(grad(of(each(scanned))))(members), want)
    assert (ran.forward, ran.backward) == (2, 1)


def test_vmap_of_neurons_without_axes(ran: Counts) -> None:
    xs, v = draw(B, T, seed=14), torch.full((), 0.2, dtype=torch.float64)

    def each(run: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x: run(x, 0.9, 0.7, v)

    assert_close(vmap(each(scanned))(xs), stack([each(looped)(x) for x in xs]))
    want = torch.stack([gradients(of(each(looped)), x)[0] for x in xs])
    assert_close(vmap(grad(of(each(scanned))))(xs), want)
    assert (ran.forward, ran.backward) == (2, 1)


@pytest.mark.parametrize("sizes", [(1, 3), (3, 1), (2, 3), (1, 1)])
def test_vmap_of_vmap(ran: Counts, sizes: tuple[int, int]) -> None:
    xs, decays = draw(sizes[1], T, N, seed=20), draw(sizes[0], N, seed=21)
    got = vmap(vmap(scanned, (0, None)), (None, 0))(xs, decays)
    assert_close(got, stack([stack([looped(x, decay) for x in xs]) for decay in decays]))
    slopes = vmap(vmap(grad(of(scanned), argnums=(0, 1)), (0, None)), (None, 0))(xs, decays)
    want = stack([stack([gradients(of(looped), x, decay) for x in xs]) for decay in decays])
    assert_close(slopes, want)
    assert (ran.forward, ran.backward) == (2, 1)


@pytest.mark.parametrize("chunk", [1, 2])
def test_chunked_vmap(ran: Counts, chunk: int) -> None:
    got = vmap(grad(of(scanned), argnums=1), (0, None), chunk_size=chunk)(XB, DECAY)
    assert_close(got, torch.stack([gradients(of(looped), x, DECAY)[1] for x in XB]))
    assert ran.forward == math.ceil(B / chunk)


MAPPED = list(itertools.product([None, 0], repeat=4))[1:]


@pytest.mark.parametrize("in_dims", MAPPED, ids=["".join("-0"[d == 0] for d in dims) for dims in MAPPED])
def test_what_is_shared_and_what_is_mapped(ran: Counts, in_dims: tuple[int | None, ...]) -> None:
    alone = (X, DECAY, THRESHOLD, rest().v)
    mapped = (XB, draw(B, N, seed=30), 0.5 + draw(B, N, seed=31), draw(B, N, seed=32))
    given = tuple(m if dim == 0 else a for a, m, dim in zip(alone, mapped, in_dims, strict=True))

    def member(n: int) -> Any:
        return tuple(leaf[n] if dim == 0 else leaf for leaf, dim in zip(given, in_dims, strict=True))

    assert_close(vmap(scanned, in_dims)(*given), stack([looped(*member(n)) for n in range(B)]))
    per_member = vmap(grad(of(scanned), argnums=(0, 1, 2, 3)), in_dims)(*given)
    want = stack([gradients(of(looped), *member(n)) for n in range(B)])
    assert_close(per_member, want)
    summed = grad(lambda *inputs: vmap(of(scanned), in_dims)(*inputs).sum(), argnums=(0, 1, 2, 3))(*given)
    totals = tuple(leaf if dim == 0 else leaf.sum(0) for leaf, dim in zip(want, in_dims, strict=True))
    assert_close(summed, totals)
    assert (ran.forward, ran.backward) == (3, 2)


def test_grad_of_vmap_of_grad_takes_the_loop(ran: Counts) -> None:
    def inner(decay: Tensor) -> Tensor:
        slopes: Tensor = vmap(grad(of(scanned)), (0, None))(XB, decay)
        return slopes.square().sum()

    def plain(decay: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for x in XB:
            leaf = x.clone().requires_grad_()
            (slope,) = torch.autograd.grad(value(looped(leaf, decay)), leaf, create_graph=True)
            total += slope.square().sum()
        return total

    assert_close(grad(inner)(DECAY), gradients(plain, DECAY)[0])
    assert ran.forward == 0


def test_cotangents_that_are_mapped_alone(ran: Counts) -> None:
    _, pull = vjp(lambda x, decay: scanned(x, decay)[1], X, DECAY)
    cotangents = draw(B, T, N, seed=40)
    want = [gradients(lambda x, d, c=c: (looped(x, d)[1] * c).sum(), X, DECAY) for c in cotangents]
    assert_close(vmap(pull)(cotangents), stack(want))
    assert (ran.forward, ran.backward) == (1, 1)


def test_inner_results_with_an_outer_map(ran: Counts) -> None:
    """What the scan is given comes from operations under the transform, and what it returns goes into some."""
    weight = draw(N, N, seed=50)

    def model(run: Callable[..., Any]) -> Callable[..., Any]:
        return lambda weight, x: (run(x @ weight, weight.mean(0))[1] @ weight).square().mean()

    got = vmap(grad(model(scanned)), (None, 0))(weight, XB)
    assert_close(got, torch.stack([gradients(lambda w, x=x: model(looped)(w, x), weight)[0] for x in XB]))
    assert (ran.forward, ran.backward) == (1, 1)


# --- the first call of a step, inside a transform ---------------------------------------------------------------------


@pytest.mark.usefixtures("unknown")
def test_first_call_inside_vmap_of_grad(ran: Counts) -> None:
    def fresh(state: F.IFState, x: Tensor, decay: Any) -> Any:
        u = decay * state.v + x * 1.25
        spike = F.Sigmoid(3.0)(u - 0.75)
        return F.IFState(u - 0.75 * spike), spike

    def each(decay: Tensor, x: Tensor) -> Tensor:
        return value(F.scan(fresh, rest(), x, params={"decay": decay}))

    got = vmap(grad(each, argnums=(0, 1)), (None, 0))(DECAY, XB)
    want = [gradients(lambda d, x: value(loop(fresh, rest(), x, {"decay": d})), DECAY, x) for x in XB]
    assert_close(got, stack(want))
    assert (ran.forward, ran.backward, ran.traces) == (1, 1, 1)


@pytest.mark.usefixtures("unknown")
def test_first_call_inside_grad_of_vmap(ran: Counts) -> None:
    def fresh(state: F.IFState, x: Tensor, decay: Any) -> Any:
        u = decay * state.v + x * 1.5
        spike = F.Sigmoid(3.0)(u - 0.7)
        return F.IFState(u - 0.7 * spike), spike

    got = grad(lambda d: vmap(lambda x: value(F.scan(fresh, rest(), x, params={"decay": d})))(XB).sum())(DECAY)
    assert_close(got, sum(gradients(lambda d, x=x: value(loop(fresh, rest(), x, {"decay": d})), DECAY)[0] for x in XB))
    assert (ran.forward, ran.backward, ran.traces) == (1, 1, 1)


# --- what takes the loop ----------------------------------------------------------------------------------------------


def explained(reasons: list[str]) -> Callable[..., Any]:
    """Return a scan that notes what explain_scan says where it is called."""

    def run(x: Tensor, decay: Any = DECAY) -> Any:
        params = {"decay": decay, "threshold": THRESHOLD}
        reasons.append(F.explain_scan(leaky, rest(), x, params=params).backend)
        return F.scan(leaky, rest(), x, params=params)

    return run


def test_forward_mode_takes_the_loop(ran: Counts) -> None:
    reasons: list[str] = []
    run, tangent, short = explained(reasons), draw(5, N, seed=60), X[:5]
    out, got = jvp(lambda x: run(x)[1], (short,), (tangent,))
    rows = torch.stack([gradients(lambda x, i=i: looped(x)[1].flatten()[i], short)[0] for i in range(5 * N)])
    assert_close(out, looped(short)[1])
    assert_close(got, (rows * tangent).sum((1, 2)).reshape(5, N))
    assert_close(jacfwd(lambda x: run(x)[1])(short), rows.reshape(5, N, 5, N))
    assert_close(vmap(lambda t: jvp(lambda x: run(x)[1], (short,), (t,))[1])(tangent[None])[0], got)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(short, tangent)
        assert_close(torch.autograd.forward_ad.unpack_dual(run(dual)[1]).tangent, got)
    assert set(reasons) == {"loop"}
    assert ran.forward == 0


def test_second_derivatives_take_the_loop(ran: Counts) -> None:
    reasons: list[str] = []
    run, short = explained(reasons), X[:3]
    x = short.clone().requires_grad_()
    (first,) = torch.autograd.grad(value(looped(x)), x, create_graph=True)
    rows = [torch.autograd.grad(entry, x, retain_graph=True)[0] for entry in first.flatten()]
    want = torch.stack(rows).reshape(3, N, 3, N)
    assert want.abs().sum() > 0
    assert_close(hessian(of(run))(short), want)
    assert_close(jacrev(jacrev(of(run)))(short), want)
    assert_close(grad(lambda x: grad(of(run))(x).sum())(short), want.sum((0, 1)))
    assert set(reasons) == {"loop"}
    assert ran.forward == 0


def test_a_gradient_inside_and_one_outside(ran: Counts) -> None:
    """A step of MAML: the outer backward pass goes through the inner gradient."""
    outer = DECAY.clone().requires_grad_()

    def adapted(run: Callable[..., Any], inner: Callable[..., Any]) -> Tensor:
        return value(run(XB[1], outer - 0.01 * inner(outer)))

    def plain(decay: Tensor) -> Tensor:
        return torch.autograd.grad(value(looped(X, decay)), decay, create_graph=True)[0]

    explain._warn_once.cache_clear()
    with pytest.warns(RuntimeWarning, match="requires a gradient outside"):
        got = torch.autograd.grad(adapted(scanned, grad(lambda decay: value(scanned(X, decay)))), outer)
    assert_close(got, torch.autograd.grad(adapted(looped, plain), outer))
    assert ran.forward == 1  # the call outside of the transform


def test_a_tensor_outside_that_wants_no_gradient_inside(ran: Counts) -> None:
    """The inner function closes over a leaf of the outer graph."""
    outer = THRESHOLD.clone().requires_grad_()

    def slope(run: Callable[..., Any], differentiate: Callable[..., Any]) -> Tensor:
        return differentiate(lambda decay: value(run(X, decay, outer)), DECAY).square().sum()  # type: ignore[no-any-return]

    def plain(function: Callable[..., Tensor], decay: Tensor) -> Tensor:
        leaf = decay.clone().requires_grad_()
        return torch.autograd.grad(function(leaf), leaf, create_graph=True)[0]

    explain._warn_once.cache_clear()
    with pytest.warns(RuntimeWarning, match="requires a gradient outside"):
        (got,) = torch.autograd.grad(slope(scanned, lambda function, decay: grad(function)(decay)), outer)
    (want,) = torch.autograd.grad(slope(looped, plain), outer)
    assert want.abs().sum() > 0
    assert_close(got, want)
    assert ran.forward == 0


def test_a_parameter_of_a_model_under_grad_without_an_outer_graph(ran: Counts) -> None:
    """Parameters that require a gradient are no reason for the loop where nobody records one."""
    decay = torch.nn.Parameter(DECAY.clone())
    with torch.no_grad():
        got = grad(lambda x: value(scanned(x, decay)))(X)
    assert_close(got, gradients(lambda x: value(looped(x)), X)[0])
    assert (ran.forward, ran.backward) == (1, 1)


# --- modules ----------------------------------------------------------------------------------------------------------


class Net(torch.nn.Module):
    def __init__(self, run: Any = scanned) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.run = run
        self.weight = torch.nn.Parameter(torch.rand(N, N, dtype=torch.float64, generator=generator))
        self.decay = torch.nn.Parameter(DECAY.clone())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.run(x @ self.weight, self.decay)[1]
        return out


def test_functional_call(ran: Counts) -> None:
    params = {name: leaf.detach() for name, leaf in Net().named_parameters()}

    def model(net: Net) -> Callable[..., Tensor]:
        return lambda params, x: value(functional_call(net, params, (x,)))

    want = [gradients(model(Net(looped)), params, x)[0] for x in XB]
    assert_close(grad(model(Net()))(params, XB[0]), want[0])
    assert_close(vmap(grad(model(Net())), (None, 0))(params, XB), stack(want))
    assert (ran.forward, ran.backward) == (2, 2)


def module_gradients(net: Net, out: Tensor) -> dict[str, Tensor]:
    found = torch.autograd.grad(value(out), list(net.parameters()))
    return dict(zip(dict(net.named_parameters()), found, strict=True))


@pytest.mark.usefixtures("unknown")
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoint(ran: Counts, reentrant: bool) -> None:
    def fresh(state: F.IFState, x: Tensor, decay: Any) -> Any:
        u = decay * state.v + x * 1.75
        spike = F.Sigmoid(2.0)(u - 0.65)
        return F.IFState(u - 0.65 * spike), spike

    def run(x: Tensor, decay: Tensor) -> Any:
        return F.scan(fresh, rest(), x, params={"decay": decay})

    net, plain = Net(run), Net(lambda x, decay: loop(fresh, rest(), x, {"decay": decay}))
    x = X.clone().requires_grad_()
    out = checkpoint(net, x, use_reentrant=reentrant)
    if reentrant:
        value(out).backward()
        got = {name: leaf.grad for name, leaf in net.named_parameters()}
    else:
        got = dict(module_gradients(net, out))
    assert_close(got, module_gradients(plain, plain(X)))
    assert (ran.forward, ran.backward, ran.traces) == (2, 1, 1)


def test_save_on_cpu(ran: Counts) -> None:
    net = Net()
    with torch.autograd.graph.save_on_cpu():
        got = module_gradients(net, net(X))
    plain = Net(looped)
    assert_close(got, module_gradients(plain, plain(X)))
    assert (ran.forward, ran.backward) == (1, 1)


def test_saved_tensors_hooks_see_little(ran: Counts) -> None:
    """The scan keeps its input, its parameters and one state in sixteen."""
    packed: list[tuple[int, ...]] = []

    def pack(tensor: Tensor) -> Tensor:
        packed.append(tuple(tensor.shape))
        return tensor.clone()

    xs = draw(100, N).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        results = scanned(xs)
    assert_close(torch.autograd.grad(value(results), xs), gradients(of(looped), xs.detach()))
    assert sorted(packed) == sorted([(100, N), (N,), (N,), (N,), (6, N)])
    assert (ran.forward, ran.backward) == (1, 1)


@pytest.mark.usefixtures("unknown")
def test_a_first_call_under_hooks_and_modes(ran: Counts) -> None:
    """The trace is not disturbed by hooks, and does not disturb them."""
    packed: list[int] = []

    def fresh(state: F.IFState, x: Tensor, decay: Any) -> Any:
        u = decay * state.v + x * 1.85
        spike = F.Sigmoid(2.5)(u - 0.95)
        return F.IFState(u - 0.95 * spike), spike

    xs = X.clone().requires_grad_()

    def pack(tensor: Tensor) -> Tensor:
        packed.append(tensor.numel())
        return tensor.clone()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = F.scan(fresh, rest(), xs, params={"decay": DECAY})
    # the input, the state, the parameter and one kept state
    assert sorted(packed) == [N, N, N, T * N]
    want = gradients(lambda x: value(loop(fresh, rest(), x, {"decay": DECAY})), X)
    assert_close(torch.autograd.grad(value(out), xs), want)


def test_autocast(ran: Counts) -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(N, N)
    x = X.float()

    def run(scan: Callable[..., Any]) -> tuple[Tensor, Any]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            current = linear(x)
            assert current.dtype == torch.bfloat16
            _, out = scan(leaky, F.IFState(torch.zeros(N)), current, {"decay": 0.9})
        return out, torch.autograd.grad((out.float() * X).sum(), list(linear.parameters()))

    got = run(lambda step, state, xs, params: F.scan(step, state, xs, params=params))
    want = run(lambda step, state, xs, params: F.scan(step, state, xs, params=params, backend="loop"))
    assert got[0].dtype == torch.bfloat16
    assert torch.equal(got[0], want[0])
    for a, b in zip(got[1], want[1], strict=True):
        torch.testing.assert_close(a, b, rtol=2e-2, atol=2e-2)  # the gradient passes a bfloat16
    assert (ran.forward, ran.backward) == (1, 1)


@pytest.mark.usefixtures("unknown")
def test_a_first_call_under_autocast(ran: Counts) -> None:
    def fresh(state: F.IFState, x: Tensor) -> Any:
        u = 0.9 * state.v + torch.log1p(x) * 1.95
        return F.IFState(u), u

    x = X.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, got = F.scan(fresh, F.IFState(torch.zeros(N)), x)
    assert_close(got, loop(fresh, F.IFState(torch.zeros(N)), x)[1])
    assert ran.forward == 1


@pytest.mark.usefixtures("unknown")
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients(ran: Counts, mode: Any) -> None:
    def fresh(state: F.IFState, x: Tensor, decay: Any) -> Any:
        u = decay * state.v + x * 2.25
        spike = F.Sigmoid(2.0)(u - 0.85)
        return F.IFState(u - 0.85 * spike), spike

    xs, decay = X.clone().requires_grad_(), DECAY.clone().requires_grad_()
    with mode():
        got = F.scan(fresh, rest(), xs, params={"decay": decay})
    assert not got[1].requires_grad
    assert got[1].is_inference() == (mode is torch.inference_mode)
    assert_close(got, pytree.tree_map(Tensor.detach, loop(fresh, rest(), xs, {"decay": decay})))
    # the same step afterwards, with gradients
    slopes = torch.autograd.grad(value(F.scan(fresh, rest(), xs, params={"decay": decay})), [xs, decay])
    assert_close(slopes, torch.autograd.grad(value(loop(fresh, rest(), xs, {"decay": decay})), [xs, decay]))
    assert (ran.forward, ran.backward, ran.traces) == (2, 1, 1)


def test_inference_tensors_as_inputs(ran: Counts) -> None:
    with torch.inference_mode():
        xs = X.clone()
    with torch.no_grad():
        assert_close(scanned(xs), looped(X))
    assert ran.forward == 1


# --- the life of a graph ----------------------------------------------------------------------------------------------


def test_create_graph_and_first_derivatives(ran: Counts) -> None:
    xs = X.clone().requires_grad_()
    (got,) = torch.autograd.grad(value(scanned(xs)), xs, create_graph=True)
    assert_close(got.detach(), gradients(of(looped), X)[0])
    assert (ran.forward, ran.backward) == (1, 0)  # the loop computes what is to be differentiated once more


@pytest.mark.parametrize("wanted", ["x", "decay", "cotangent"])
def test_double_backward(wanted: str) -> None:
    def second(run: Callable[..., Any]) -> Tensor:
        leaves = {"x": X.clone().requires_grad_(), "decay": DECAY.clone().requires_grad_()}
        leaves["cotangent"] = draw(T, N, seed=3).requires_grad_()
        out = run(leaves["x"], leaves["decay"])[1]
        (first,) = torch.autograd.grad((out * leaves["cotangent"]).sum(), leaves["x"], create_graph=True)
        return torch.autograd.grad(first.square().sum(), leaves[wanted])[0]

    assert_close(second(scanned), second(looped))


def test_two_backward_passes(ran: Counts) -> None:
    xs = X.clone().requires_grad_()
    total = value(scanned(xs))
    (first,) = torch.autograd.grad(total, xs, retain_graph=True)
    (second,) = torch.autograd.grad(total, xs)
    assert torch.equal(first, second)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.grad(total, xs)
    assert (ran.forward, ran.backward) == (1, 2)


def test_gradients_accumulate() -> None:
    xs, decay = X.clone().requires_grad_(), DECAY.clone().requires_grad_()
    for _ in range(2):
        value(scanned(xs, decay)).backward()
    want = gradients(of(looped), X, DECAY)
    assert_close((xs.grad, decay.grad), (2 * want[0], 2 * want[1]))


@pytest.mark.parametrize("which", ["x", "decay", "v"])
def test_a_write_on_an_input_is_noticed(which: str) -> None:
    leaves = {"x": X.clone(), "decay": DECAY.clone(), "v": rest().v}
    other = THRESHOLD.clone().requires_grad_()
    out = scanned(leaves["x"], leaves["decay"], other, leaves["v"])[1]
    leaves[which].add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_a_write_on_a_result_is_fine() -> None:
    def run(scan: Callable[..., Any]) -> Any:
        xs = X.clone().requires_grad_()
        state, out = scan(xs)
        out.mul_(2.0)
        state.v.add_(1.0)
        return torch.autograd.grad(value((state, out)), xs)

    def separate(xs: Tensor) -> Any:
        state, out = looped(xs)
        return F.IFState(state.v.clone()), out.clone()

    assert_close(run(scanned), run(separate))


def test_results_of_one_kind_only() -> None:
    for pick in (lambda results: results[0].v, lambda results: results[1]):
        got = gradients(lambda *inputs, pick=pick: value(pick(scanned(*inputs))), X, DECAY)
        assert_close(got, gradients(lambda *inputs, pick=pick: value(pick(looped(*inputs))), X, DECAY))


def test_hooks_of_tensors_see_gradients() -> None:
    xs = X.clone().requires_grad_()
    current = 2 * xs
    seen: list[Tensor] = []
    current.register_hook(seen.append)
    out = scanned(current)[1]
    out.retain_grad()
    out.sum().backward()
    assert len(seen) == 1
    assert out.grad is not None
    assert_close(xs.grad, 2 * seen[0])


# --- export -----------------------------------------------------------------------------------------------------------

LOADED = """
import sys
import torch
import spikingtorch
program, inputs, wanted = sys.argv[1:]
module = torch.export.load(program).module()
with torch.no_grad():
    out = module(torch.load(inputs))
assert torch.equal(out, torch.load(wanted)), (out, torch.load(wanted))
print("equal", "scan_exported" in str(module.graph))
"""


@pytest.mark.parametrize("strict", [False, True])
def test_export(tmp_path: Path, strict: bool) -> None:
    net = Net()
    program = torch.export.export(net, (X,), strict=strict)
    other = draw(seed=77)
    want = Net(looped)(other).detach()
    with torch.no_grad():
        assert_close(program.module()(other), want)
    torch.export.save(program, tmp_path / "net.pt2")
    torch.save(other, tmp_path / "x.pt")
    torch.save(want, tmp_path / "out.pt")
    files = [str(tmp_path / name) for name in ("net.pt2", "x.pt", "out.pt")]
    command = [sys.executable, "-W", "ignore", "-c", LOADED, *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["equal", "True"]


def test_an_exported_module_has_gradients() -> None:
    net, plain = Net(), Net(looped)
    module = torch.export.export(net, (X,), strict=False).module()
    out = module(X)
    found = torch.autograd.grad(value(out), list(module.parameters()))
    assert_close(dict(zip(dict(module.named_parameters()), found, strict=True)), module_gradients(plain, plain(X)))


# --- the raw operators ------------------------------------------------------------------------------------------------


def raw(dtype: torch.dtype = torch.float64, **changes: Any) -> tuple[Any, ...]:
    """Return arguments of scan_forward."""
    state, xs = [rest().v.to(dtype)], [X.to(dtype, copy=True)]
    named = {"decay": DECAY.to(dtype, copy=True), "threshold": THRESHOLD.to(dtype, copy=True)}
    call = Call.of(leaky, F.IFState(state[0]), xs[0], named, 0, dtype)
    found = programs.trace_step(call.step, call.arguments())
    return state, xs, call.tensor_params, [*call.floats, *found.literals], found.program, 0, changes.get("keep", True)


def raw_backward(forward: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return arguments of scan_backward."""
    final, out, kept = torch.ops.spikingtorch.scan_forward(*forward)
    cotangents = [torch.ones_like(final), None if forward[5] else torch.ones_like(out)]
    return *forward[:3], [kept], cotangents, *forward[3:6], [True, True, True, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("keep", [False, True])
def test_opcheck_forward(dtype: torch.dtype, keep: bool) -> None:
    torch.library.opcheck(torch.ops.spikingtorch.scan_forward.default, raw(dtype, keep=keep))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_opcheck_backward(dtype: torch.dtype) -> None:
    torch.library.opcheck(torch.ops.spikingtorch.scan_backward.default, raw_backward(raw(dtype)))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_raw_operators_refuse_gradients(place: int) -> None:
    arguments = raw()
    back = raw_backward(arguments)
    arguments[place][0].requires_grad_()
    for operator, given in (("scan_forward", arguments), ("scan_backward", back)):
        call = getattr(torch.ops.spikingtorch, operator)
        with pytest.raises(RuntimeError, match=r"requires a gradient.*functional\.scan"):
            call(*given)
        with torch.no_grad():
            assert not any(result.requires_grad for result in call(*given))


def test_raw_operators_give_the_results_of_the_loop() -> None:
    final, out, kept = torch.ops.spikingtorch.scan_forward(*raw())
    assert_close((F.IFState(final), out), looped(X))
    assert kept.shape == (1, N)
    assert_close(F.IFState(kept[0]), looped(X[:16])[0])
