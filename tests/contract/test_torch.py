"""Networks under torch.compile, torch.export and torch.func: the oracle's numbers, state and gradients."""

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikingtorch.testing import assert_close
from tests.contract.networks import NETWORKS
from tests.contract.oracle import QUIETLY, Network, Params, State, cotangent, cut, draw

pytestmark = QUIETLY
func: Any = torch.func  # its annotations follow the function that is transformed
MODES: Any = ("auto", "step", "fold")


# --- torch.compile and torch.export -----------------------------------------------------------------------------------


def compiled(function: Any) -> Any:
    return torch.compile(function, backend="aot_eager", fullgraph=True)


def in_parts(model: Any, x: Tensor) -> Tensor:
    run, going_on = compiled(model), torch.zeros(len(x), dtype=torch.bool)
    return torch.cat([run(x[:, :3]), run(x[:, 3:5], init=False), run(x[:, 5:], init=going_on)], 1)


def its_net(model: Any, x: Tensor) -> Tensor:
    """Call the compiled net step after step, as one that calls it by hand does."""
    run = compiled(model.net)
    model.reset()
    outs = []
    for t, x_t in enumerate(x.unbind(1)):
        outs.append((out := run(x_t, t == 0)).clone())
        out.data.fill_(9.0)  # which is no part of the state
    return torch.stack(outs, 1)


def its_net_over_time(model: Any, x: Tensor) -> Tensor:
    net, model.net = model.net, compiled(model.net)
    try:
        out: Tensor = model(x)
        assert model.explain().mode == ("step" if model.mode == "step" else "fold")
    finally:
        model.net = net
    return out


def its_layers(model: Any, x: Tensor) -> Tensor:
    model.net.n1, model.net.n2 = compiled(model.net.n1), compiled(model.net.n2)
    try:
        out: Tensor = model(x)
    finally:
        model.net.n1, model.net.n2 = model.net.n1._orig_mod, model.net.n2._orig_mod
    return out


# how a network is compiled, where its graph is cut, and the cases: networks and modes
COMPILED: dict[str, tuple[Callable[[Any, Tensor], Tensor], tuple[int, ...]]] = {
    "whole": (lambda model, x: compiled(model)(x), ()),
    "parts": (in_parts, (3, 5)),
    "net": (its_net, ()),
    "net over time": (its_net_over_time, ()),
    "layers": (its_layers, ()),
}
COMPILE_CASES = [
    ("whole", "two", "auto"),
    *[
        pytest.param(*case, marks=pytest.mark.long)
        for case in (
            ("parts", "two", "step"),
            ("net", "two", "step"),
            ("whole", "not handed", "fold"),
            ("whole", "recurrent", "step"),
            ("whole", "asks", "step"),
            ("whole", "shared", "step"),
            ("whole", "gives", "auto"),
            ("parts", "recurrent", "fold"),
            ("parts", "branches", "auto"),
            ("net", "recurrent", "step"),
            ("net", "shared", "step"),
            ("net", "reads", "step"),
            ("net", "forgets", "step"),
            ("net over time", "two", "step"),
            ("net over time", "two", "auto"),
            ("layers", "two", "step"),
        )
    ],
]


@pytest.mark.sampled
@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize(("how", "name", "mode"), COMPILE_CASES)
def test_compiled(how: str, name: str, mode: Any) -> None:
    network, (run, cuts) = NETWORKS[name], COMPILED[how]
    model, x, state = network.model(mode=mode), draw(1).requires_grad_(), network.rest()
    params = dict(model.net.named_parameters())
    want = network.run(params, state, x, cuts)
    got = run(model, x)
    assert_close(got.detach(), want.detach())
    assert_close(cut(model.get_state()), cut(state))
    leaves, slopes = [x, *params.values()], torch.autograd.grad
    assert_close(slopes(got, leaves, cotangent(got)), slopes(want, leaves, cotangent(want)))
    state = cut(state)
    want = network.run(params, state, draw(2), begins=False)
    assert_close(model(draw(2), init=False).detach(), want.detach())


@pytest.mark.usefixtures("fresh_compiler")
def test_a_network_that_has_run_is_compiled_without_a_break() -> None:
    model, x = NETWORKS["two"].model().eval(), draw(1)
    want = [model(x) for _ in range(3)][-1]
    found: Any = torch._dynamo.utils.counters  # pyright: ignore[reportPrivateImportUsage]
    found.clear()
    model.net.compile(backend="eager")
    for _ in range(4):
        assert_close(model(x), want)
    assert found["frames"]["ok"] > 0
    assert not found["graph_break"]


@pytest.mark.parametrize(("name", "mode"), [("two", "auto"), pytest.param("shared", "step", marks=pytest.mark.long)])
def test_exported(name: str, mode: Any) -> None:
    network = NETWORKS[name]
    model, state = network.model(mode=mode), network.rest()
    params = dict(model.net.named_parameters())
    model(draw(1))
    network.run(params, state, draw(1))
    file = io.BytesIO()
    exported = network.model(mode=mode)
    torch.export.save(torch.export.export(exported, (draw(2),)), file)
    assert exported.get_state() == {}
    file.seek(0)
    program = torch.export.load(file).module()
    for seed in (2, 3):  # a program keeps nothing between calls
        assert_close(program(draw(seed)).detach(), network.run(params, network.rest(), draw(seed)).detach())
    want = network.run(params, state, draw(2), begins=False)
    assert_close(model(draw(2), init=False).detach(), want.detach())


# --- torch.func -------------------------------------------------------------------------------------------------------

Function = Callable[[dict[str, Tensor], Tensor], Tensor]


def of_network(model: Any, network: Network) -> Function:
    def run(params: dict[str, Tensor], x: Tensor) -> Tensor:
        given = x if model.batch_first else x.transpose(0, 1)
        out: Tensor = func.functional_call(model, {f"net.{name}": each for name, each in params.items()}, (given,))
        return out if model.batch_first else out.transpose(0, 1)

    return run


def of_net(model: Any, network: Network) -> Function:
    """Call the net itself, step after step."""

    def run(params: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.stack([func.functional_call(model.net, params, (x[:, t], t == 0)) for t in range(x.shape[1])], 1)

    return run


def of_oracle(_: Any, network: Network) -> Function:
    return lambda params, x: network.run(params, network.rest(len(x)), x)


def mapped(function: Function, params: Any, x: Tensor) -> Any:
    return func.vmap(function, (None, 0))(params, torch.stack([x, x.flip(0)]))


def ensemble(function: Function, params: Any, x: Tensor) -> Any:
    several = {name: torch.stack([each, 1.1 * each]) for name, each in params.items()}
    return func.vmap(function, (0, None))(several, x)


# made here, for torch.compile makes no generator
PULL = cotangent(draw(1)[..., :1])


def pulled(function: Function, params: Any, x: Tensor) -> Any:
    return func.grad(lambda params, x: (function(params, x) * PULL).sum(), (0, 1))(params, x)


def for_each_sample(function: Function, params: Any, x: Tensor) -> Any:
    return func.vmap(func.grad(lambda params, x: function(params, x[None]).square().sum()), (None, 0))(params, x)


def pushed(function: Function, params: Any, x: Tensor) -> Any:
    return func.jvp(function, (params, x), (params, x.flip(1)))


def called(function: Function, params: Any, x: Tensor) -> Any:
    return function({name: 1.1 * each for name, each in params.items()}, x)


TRANSFORMS: dict[str, tuple[str, Callable[[Function, Any, Tensor], Any]]] = {
    "functional_call": ("other parameters", called),
    "vmap": ("several batches", mapped),
    "ensemble": ("several sets of parameters", ensemble),
    "grad": ("gradients of all", pulled),
    "vmap of grad": ("gradients of each sample", for_each_sample),
    "jvp": ("forward mode through time", pushed),
}


# checkpoint and backward hooks are torch's own business there, and what is within would go on from a state
TRANSFORMED = [name for name in NETWORKS if name not in ("blocks", "handed", "hooked", "a step within")]
# nets that by themselves do not hand init to every layer
NOT_HANDED = ("not handed", "looks")
TRANSFORM_CASES = [
    (how, name, mode)
    for how in TRANSFORMS
    for name in TRANSFORMED
    for mode in ("auto", "step", "fold", "net")
    if (mode != "net" or name not in NOT_HANDED) and (mode != "fold" or NETWORKS[name].folds)
]


@pytest.mark.sampled
@pytest.mark.parametrize(("how", "name", "mode"), TRANSFORM_CASES)
def test_transformed(how: str, name: str, mode: Any) -> None:
    network = NETWORKS[name]
    model = network.model(mode="step" if mode == "net" else mode, batch_first=mode != "fold")
    params: Params = {name: each.detach() for name, each in model.net.named_parameters()}
    transform, state = TRANSFORMS[how][1], network.rest()
    of = of_net if mode == "net" else of_network
    if mode != "auto":  # which decides in the transform
        model(draw(7))
    want = transform(of_oracle(model, network), params, draw(1))
    assert_close(unwrapped(transform(of(model, network), params, draw(1))), want)
    if how != "functional_call":  # which is no transform
        assert model.get_state() == {}
        model.batch_first = True
        want = network.run(params, state, draw(1))
        assert_close(model(draw(1)).detach(), want)
        assert_close(cut(model.get_state()), cut(state))


@pytest.mark.long
@pytest.mark.sampled
@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("how", ["grad", "vmap of grad", "ensemble"])
def test_transformed_in_compiled_code(how: str) -> None:
    network, transform = NETWORKS["two"], TRANSFORMS[how][1]
    model = network.model()
    params: Params = {name: each.detach() for name, each in model.net.named_parameters()}
    want = transform(of_oracle(model, network), params, draw(1))
    assert_close(compiled(lambda params, x: transform(of_network(model, network), params, x))(params, draw(1)), want)


def unwrapped(tree: Any) -> Any:
    return pytree.tree_map(lambda leaf: leaf.detach(), tree)


# --- gradients --------------------------------------------------------------------------------------------------------

AGAIN: dict[str, Any] = {"time_chunk": 2, "recompute": True}
SECOND = [*[("two", m, {}) for m in MODES], ("recurrent", "fold", {}), ("blocks", "auto", {}), ("two", "step", AGAIN)]


@pytest.mark.parametrize(("name", "mode", "options"), SECOND)
def test_gradients_of_gradients(name: str, mode: Any, options: dict[str, Any]) -> None:
    network, found = NETWORKS[name], []
    model, x = network.model(mode=mode, **options), draw(1).requires_grad_()
    params = dict(model.net.named_parameters())
    for out in (model(x), model(x), network.run(params, network.rest(), x)):
        (first,) = torch.autograd.grad(out, x, cotangent(out), create_graph=True)
        second = torch.autograd.grad(out.sum() + first.square().sum(), [x, *params.values()])
        assert all(bool(each.any()) for each in second)
        found.append([first, *second])
    assert_close(found[0], found[2])
    assert_close(found[1], found[2])


@pytest.mark.parametrize("name", ["two", "branches", "gives"])
def test_many_cotangents_at_once(name: str) -> None:
    network = NETWORKS[name]
    model, x = network.model(), draw(1).requires_grad_()
    params = dict(model.net.named_parameters())
    out, want, leaves = model(x), network.run(params, network.rest(), x), [x, *params.values()]
    pulls = torch.stack([cotangent(out), cotangent(out).square()])
    many = func.vmap(lambda pull: torch.autograd.grad(out, leaves, pull, retain_graph=True))(pulls)
    for k, pull in enumerate(pulls):
        assert_close([each[k] for each in many], list(torch.autograd.grad(want, leaves, pull, retain_graph=True)))


def test_gradients_with_respect_to_a_state() -> None:
    network = NETWORKS["two"]
    model, x = network.model(carry_graph=True), draw(1)
    state: State = {name: torch.rand(3, size, dtype=torch.double) for name, size in network.state.items()}
    leaves = [each.requires_grad_() for each in state.values()]
    model.set_state(state)
    start: State = {name: each * 1.0 for name, each in state.items()}
    want = network.run(dict(model.net.named_parameters()), start, x, begins=False)
    got = model(x, init=False)
    for retains in (True, False):
        slopes = torch.autograd.grad(got, leaves, cotangent(got), retain_graph=retains)
        assert_close(slopes, torch.autograd.grad(want, leaves, cotangent(want), retain_graph=retains))
