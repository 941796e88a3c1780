"""torch.func and torch.compile over scan, by value, against Python loops that use neither.

The reference of every test is ``loop``: the step called in a for statement, differentiated by torch.autograd.grad, one
sample, one member or one output at a time.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from spikingtorch.verification.cases import CASES, SPIKING, Case, by_name

func: Any = torch.func  # its annotations follow the function that is mapped, which lambdas do not have
grad, vmap, vjp, jvp, functional_call = func.grad, func.vmap, func.vjp, func.jvp, func.functional_call
hessian, jacrev, jacfwd = func.hessian, func.jacrev, func.jacfwd
T = 4
Run = Callable[[Callable[..., Any]], Callable[..., Any]]


def eager(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    # aot_eager traces forward and backward like the default backend, and needs no C++ compiler
    torch._dynamo.reset()
    return torch.compile(function, backend="aot_eager", fullgraph=True)


def scanned(case: Case, xs: Any, params: dict[str, Tensor]) -> tuple[Any, Tensor]:
    """Return state and outputs by scan."""
    return F.scan(case.step, case.initial(xs), xs, params=params)


def loop(case: Case, xs: Any, params: dict[str, Tensor]) -> tuple[Any, Tensor]:
    """Return state and outputs by a for statement."""
    state, outputs = case.initial(xs), []
    several = isinstance(xs, tuple)
    for t in range(T):
        state, out = case.step(state, tuple(x[t] for x in xs) if several else xs[t], **params)
        outputs.append(out)
    return state, torch.stack(outputs)


def value(results: Any) -> Tensor:
    """Return a number that depends on every result: outputs and final state, each weighted by its own cosine."""
    total = torch.zeros((), dtype=torch.float64)
    for index, leaf in enumerate(pytree.tree_leaves(results)):
        weights = torch.cos(torch.arange(leaf.numel(), dtype=leaf.dtype) + index).reshape(leaf.shape)
        total = total + (weights * leaf).sum()
    return total


def autograd(function: Callable[..., Tensor], *inputs: Any) -> Any:
    """Return the gradients of a function by torch.autograd.grad, in the form of its inputs."""
    leaves, form = pytree.tree_flatten(inputs)
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    gradients = torch.autograd.grad(
        function(*pytree.tree_unflatten(leaves, form)), leaves, allow_unused=True, materialize_grads=True
    )
    return pytree.tree_unflatten(list(gradients), form)


def batch(case: Case, count: int = 3) -> tuple[Any, dict[str, Tensor]]:
    """Return inputs of several samples (count, T, 8), and the parameters."""
    draws = [case.draw(T, seed=seed)[0] for seed in range(count)]
    return pytree.tree_map(lambda *leaves: torch.stack(leaves), *draws), case.draw(T)[1]


def sample(xs: Any, n: int) -> Any:
    return pytree.tree_map(lambda leaf: leaf[n], xs)


def stack(results: list[Any]) -> Any:
    return pytree.tree_map(lambda *leaves: torch.stack(leaves), *results)


# eager runs every neuron; the compiler, which takes its time, one of each kind: one input, two inputs, two states
KINDS = {"lif", "biolif", "coarse_lif"}
EACH = pytest.mark.parametrize(
    ("case", "run"),
    [
        pytest.param(case, run, id=f"{case.name}-{by_name(run)}")
        for case in CASES
        for run in (eager, compiled)
        if run is eager or case.name in KINDS
    ],
)


@EACH
def test_grad(case: Case, run: Run) -> None:
    xs, params = case.draw(T)
    want = autograd(lambda xs, params: value(loop(case, xs, params)), xs, params)
    got = run(grad(lambda xs, params: value(scanned(case, xs, params)), argnums=(0, 1)))(xs, params)
    assert any(leaf.abs().sum() > 0 for leaf in pytree.tree_leaves(want))
    assert_close(got, want)


@EACH
def test_vjp(case: Case, run: Run) -> None:
    xs, params = case.draw(T)
    cotangent = torch.randn(T, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def pull_back(xs: Any) -> Any:
        out, function = vjp(lambda xs: scanned(case, xs, params)[1], xs)
        return out, function(cotangent)[0]

    out = loop(case, xs, params)[1]
    (want,) = autograd(lambda xs: (loop(case, xs, params)[1] * cotangent).sum(), xs)
    assert_close(run(pull_back)(xs), (out, want))


def jacobian(case: Case, xs: Any, params: dict[str, Tensor]) -> Any:
    """Return the Jacobian of the outputs by one call of autograd for each of them."""
    count = loop(case, xs, params)[1].numel()
    rows = [autograd(lambda xs, i=i: loop(case, xs, params)[1].flatten()[i], xs)[0] for i in range(count)]
    return pytree.tree_map(lambda leaf: leaf.reshape(T, 8, *leaf.shape[1:]), stack(rows))


@EACH
@pytest.mark.parametrize("transform", [jacrev, jacfwd], ids=["jacrev", "jacfwd"])
def test_jacobians(case: Case, run: Run, transform: Callable[..., Any]) -> None:
    xs, params = case.draw(T)
    got = run(transform(lambda xs: scanned(case, xs, params)[1]))(xs)
    assert_close(got, jacobian(case, xs, params))


@EACH
def test_jvp(case: Case, run: Run) -> None:
    xs, params = case.draw(T)
    tangent, _ = case.draw(T, seed=5)
    out, got = run(lambda xs, tangent: jvp(lambda xs: scanned(case, xs, params)[1], (xs,), (tangent,)))(xs, tangent)
    rows = jacobian(case, xs, params)
    products = pytree.tree_map(lambda row, v: (row * v).sum((-2, -1)), rows, tangent)
    assert_close(out, loop(case, xs, params)[1])
    assert_close(got, sum(pytree.tree_leaves(products)))


@EACH
def test_vmap_over_a_batch(case: Case, run: Run) -> None:
    xs, params = batch(case)
    got = run(vmap(lambda x: scanned(case, x, params)))(xs)
    assert_close(
        pytree.tree_leaves(got), pytree.tree_leaves(stack([loop(case, sample(xs, n), params) for n in range(3)]))
    )


@EACH
def test_vmap_over_parameters(case: Case, run: Run) -> None:
    xs, _ = case.draw(T)
    members = [case.draw(T, seed=seed)[1] for seed in range(3)]
    got = run(vmap(lambda params: scanned(case, xs, params)))(stack(members))
    assert_close(pytree.tree_leaves(got), pytree.tree_leaves(stack([loop(case, xs, member) for member in members])))


@EACH
def test_per_sample_gradients(case: Case, run: Run) -> None:
    xs, params = batch(case)
    got = run(vmap(grad(lambda params, x: value(scanned(case, x, params))), in_dims=(None, 0)))(params, xs)
    want = [autograd(lambda params, n=n: value(loop(case, sample(xs, n), params)), params)[0] for n in range(3)]
    assert_close(got, stack(want))


@EACH
def test_grad_of_vmap(case: Case, run: Run) -> None:
    xs, params = batch(case)
    got = run(grad(lambda params: vmap(lambda x: value(scanned(case, x, params)))(xs).sum()))(params)
    want = autograd(
        lambda params: torch.stack([value(loop(case, sample(xs, n), params)) for n in range(3)]).sum(), params
    )
    assert_close(got, want[0])


@EACH
def test_ensemble_gradients(case: Case, run: Run) -> None:
    xs, _ = batch(case)
    members = [case.draw(T, seed=seed)[1] for seed in range(2)]
    each = grad(lambda params, x: value(scanned(case, x, params)))
    got = run(vmap(vmap(each, (None, 0)), (0, None)))(stack(members), xs)

    def alone(member: dict[str, Tensor], n: int) -> Any:
        return autograd(lambda params: value(loop(case, sample(xs, n), params)), member)[0]

    assert_close(got, stack([stack([alone(member, n) for n in range(3)]) for member in members]))


def twice(case: Case, xs: Tensor, params: dict[str, Tensor]) -> Tensor:
    """Return the Hessian of the value in xs by two calls of autograd, one for each row."""
    x = xs.detach().clone().requires_grad_()
    (first,) = torch.autograd.grad(value(loop(case, x, params)), x, create_graph=True)
    rows = [torch.autograd.grad(entry, x, retain_graph=True)[0] for entry in first.flatten()]
    return torch.stack(rows).reshape(*xs.shape, *xs.shape)


@pytest.mark.parametrize(
    ("case", "run"),
    [
        pytest.param(case, run, id=f"{case.name}-{by_name(run)}")
        for case in SPIKING
        for run in (eager, compiled)
        if len(case.inputs) == 1 and (run is eager or case.name in KINDS)
    ],
)
def test_second_derivatives(case: Case, run: Run) -> None:
    xs, params = case.draw(T)
    want = twice(case, xs, params)
    assert want.abs().sum() > 0

    def function(xs: Tensor) -> Tensor:
        return value(scanned(case, xs, params))

    assert_close(run(hessian(function))(xs), want)
    assert_close(run(jacrev(grad(function)))(xs), want)


# --- stateless layers over time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", [eager, compiled])
@pytest.mark.parametrize("dim", [0, 1])
def test_time_map(run: Run, dim: int) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(2, 3, 3).double()
    xs = torch.rand(5, 5, 2, 6, 6, dtype=torch.float64)

    def over_time(xs: Tensor) -> Any:
        return F.time_map(layer, xs, dim=dim)

    want = torch.stack([layer(x) for x in xs.unbind(dim)], dim)
    assert_close(run(over_time)(xs), want.detach() if run is compiled else want)
    cotangent = torch.randn_like(want)
    leaf = xs.clone().requires_grad_()
    wanted = torch.autograd.grad(torch.stack([layer(x) for x in leaf.unbind(dim)], dim), leaf, cotangent)[0]
    assert_close(run(grad(lambda xs: (over_time(xs) * cotangent).sum()))(xs), wanted)


def test_time_map_draws_anew_at_each_step() -> None:
    torch.manual_seed(0)
    out = F.time_map(torch.nn.Dropout(0.5), torch.ones(4, 100))
    assert not torch.equal(out[0], out[1])


def test_time_map_refuses_a_layer_with_a_state() -> None:
    for layer in (st.IF(), torch.nn.Sequential(torch.nn.Flatten(), st.LIF())):
        with pytest.raises(TypeError, match="keeps a state from step to step; use scan, or SpikingNet"):
            F.time_map(layer, torch.ones(4, 2, 2))


# --- whole networks ---------------------------------------------------------------------------------------------------


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.l1 = torch.nn.Linear(4, 6)
        self.sl1 = st.LIF(tau=torch.full((6,), 4.0), v0=0.2, learnable="tau")
        self.l2 = torch.nn.Linear(6, 3)
        self.sl2 = st.CoarseLIF(tau=4.0, v0=0.1)

    def forward(self, x: Tensor, init: bool) -> Tensor:
        out: Tensor = self.sl2(self.l2(self.sl1(self.l1(x), init)), init)
        return out


def network(seed: int = 0) -> st.SpikingNet:
    torch.manual_seed(seed)
    return st.SpikingNet(Net(), 3).double()


def trains(count: int = 3) -> Tensor:
    return torch.rand(count, T, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(9)) * 2


def weighted(out: Tensor) -> Tensor:
    return (out * torch.cos(torch.arange(out.numel(), dtype=out.dtype)).reshape(out.shape)).sum()


@pytest.mark.parametrize("run", [eager, compiled])
def test_network_per_sample_gradients(run: Run) -> None:
    model, x = network(), trains()
    params = {name: weight.detach() for name, weight in model.named_parameters()}
    got = run(vmap(grad(lambda p, x: weighted(functional_call(model, p, (x[None],)))), (None, 0)))(params, x)
    for n in range(3):
        want = torch.autograd.grad(weighted(model(x[n : n + 1])), list(model.parameters()))
        assert all(gradient.abs().sum() > 0 for gradient in want)
        assert_close([gradient[n] for gradient in got.values()], list(want))


@pytest.mark.parametrize("run", [eager, compiled])
def test_ensemble_of_networks(run: Run) -> None:
    models, x = [network(seed) for seed in range(3)], trains()
    params, buffers = func.stack_module_state(models)
    got = run(vmap(lambda p, b: functional_call(models[0], (p, b), (x,))))(params, buffers)
    want = torch.stack([model(x) for model in models])
    assert 0 < want.mean() < 1
    assert_close(got, want.detach() if run is compiled else want)


@pytest.mark.parametrize("run", [eager, compiled])
def test_network_grad(run: Run) -> None:
    model, x = network(), trains()
    params = {name: weight.detach() for name, weight in model.named_parameters()}
    got = run(grad(lambda p: weighted(functional_call(model, p, (x,)))))(params)
    assert_close(list(got.values()), list(torch.autograd.grad(weighted(model(x)), list(model.parameters()))))


def test_a_stream_cannot_go_on_inside_a_transform() -> None:
    model, x = network(), trains()

    def stream(x: Tensor) -> Tensor:
        return torch.cat([model(x[:, :2]), model(x[:, 2:], init=False)], 1).sum()

    with torch.no_grad():
        with pytest.raises(ValueError, match=r"no call leaves a state to go on from.*functional\.scan"):
            grad(stream)(x)
        model(x)
        assert grad(lambda x: model(x, init=False).sum())(x).abs().sum() > 0  # from a state outside of it, it can
