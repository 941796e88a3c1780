"""run: a network as a pure function gives what the model does, and leaves the model as it is."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, jvp, vmap

import spikingtorch as st
from spikingtorch.testing import assert_close
from tests.contract.networks import NETWORKS
from tests.contract.oracle import HIDDEN
from tests.folded_layer import Coded
from tests.interrupts import interrupted, points_of

N, T, SPLIT = 3, 12, 5


NETS: dict[str, Callable[[], nn.Module]] = {
    "two": NETWORKS["two"].make,
    "refractory": lambda: nn.Sequential(nn.Linear(4, 3), st.LIF(tau=4.0, v0=0.3, refractory=2)),
    "batch norm": lambda: nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), st.LIF(tau=4.0, v0=0.3)),
    "escape noise": lambda: nn.Sequential(st.StochasticLIF(tau=4.0, generator=torch.Generator().manual_seed(1))),
}


def made(name: str, **options: Any) -> st.SpikingNet:
    torch.manual_seed(0)
    return st.SpikingNet(NETS[name](), **options).double()


def inputs(*shape: int) -> Tensor:
    return torch.rand(*(shape or (N, T, 4)), dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def everything(model: st.SpikingNet) -> Any:
    """Return all numbers that a model holds."""
    own = [each for module in model.modules() for each in vars(module).values()]
    generators = [each.get_state() for each in own if isinstance(each, torch.Generator)]
    return {**model.state_dict()}, model.get_state(), generators


@pytest.mark.filterwarnings("ignore:.*from a generator that the trace cannot see")
@pytest.mark.parametrize("mode", ["auto", "step"])
@pytest.mark.parametrize("name", NETS)
def test_it_computes_what_the_model_does_and_leaves_the_model_as_it_is(name: str, mode: Any) -> None:
    model, x = made(name, mode=mode), inputs()
    before = everything(model)
    torch.manual_seed(5)
    state, buffers, out = st.run(model, None, x[:, :SPLIT])
    assert_close(everything(model), before)
    twin = made(name, mode="step")
    torch.manual_seed(5)
    assert_close(out, twin(x[:, :SPLIT]))
    assert_close(state, twin.get_state())
    assert_close((out, buffers), (out, dict(twin.named_buffers())))
    if name == "escape noise":  # each run draws the same; the model goes on
        return
    before = everything(model)
    state, buffers, out = st.run(model, state, x[:, SPLIT:], buffers=buffers)
    assert_close(everything(model), before)
    assert_close(out, twin(x[:, SPLIT:], init=False))
    assert_close(state, twin.get_state())
    assert_close((out, buffers), (out, dict(twin.named_buffers())))


def test_options_of_the_model_and_lengths_hold() -> None:
    model, x, lengths = made("two", time_chunk=4, batch_first=False), inputs().transpose(0, 1), [T, 5, 8]
    state, _, out = st.run(model, None, x, lengths=lengths)
    assert_close(out, model(x, lengths=lengths))
    assert_close(state, model.get_state())


def loop(weights: dict[str, Tensor], state: dict[str, Tensor], x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the outputs of the two layers, and their last membranes, step by step."""
    params, after = {name.removeprefix("net."): each for name, each in weights.items()}, dict(state)
    return NETWORKS["two"].run(params, after, x, begins=False), after


Network = Callable[[dict[str, Tensor], dict[str, Tensor], Tensor], tuple[Tensor, dict[str, Tensor]]]


def ours(model: st.SpikingNet, weights: dict[str, Tensor], state: dict[str, Tensor], x: Tensor) -> Any:
    after, _, out = st.run(model, state, x, params=weights)
    return out, after


def of_all(function: Network, weights: dict[str, Tensor], state: dict[str, Tensor], x: Tensor) -> Tensor:
    """Return a number that depends on all that a network gives out, in another way on each entry of it."""
    out, after = function(weights, state, x)
    leaves = [leaf.flatten() for leaf in (out, after["n1.v"], after["n2.v"])]
    return sum(((leaf * torch.arange(1.0, len(leaf) + 1, dtype=leaf.dtype).sin()).sum() for leaf in leaves), out.sum())


@pytest.fixture
def given() -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """Weights, a state and an input, all of them at random."""
    weights = {name: each.detach().clone() for name, each in made("two").named_parameters()}
    return weights, {"n1.v": 0.2 * inputs(N, HIDDEN), "n2.v": 0.2 * inputs(N, HIDDEN)}, 2.0 * inputs()


TRANSFORMS: dict[str, Callable[[Network, Any, Any, Any], Any]] = {
    "gradients of weights, state and input": lambda f, *given: grad(partial(of_all, f), argnums=(0, 1, 2))(*given),
    "gradients of each sample of a stream": lambda f, weights, state, x: vmap(
        grad(partial(of_all, lambda w, v, x: f(w, {k: each[None] for k, each in v.items()}, x[None]))), (None, 0, 0)
    )(weights, state, x),
    "over states": lambda f, weights, state, x: vmap(f, (None, 0, None))(
        weights, {name: torch.stack([each, 0.5 * each]) for name, each in state.items()}, x
    ),
    "over weights": lambda f, weights, state, x: vmap(f, (0, None, None))(
        {name: torch.stack([each, 1.1 * each]) for name, each in weights.items()}, state, x
    ),
    "forward mode through time": lambda f, weights, state, x: jvp(
        lambda v: f(weights, v, x), (state,), ({name: torch.ones_like(each) for name, each in state.items()},)
    ),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_take_it_as_a_function_of_all_that_it_is_given(name: str, given: Any) -> None:
    model = made("two")
    model(inputs())
    before = everything(model)
    network: Any = partial(ours, model)
    assert_close(TRANSFORMS[name](lambda w, v, x: network(w, v, x), *given), TRANSFORMS[name](loop, *given))
    assert_close(everything(model), before)


def test_what_is_given_is_not_written_on_and_what_comes_out_is_its_own() -> None:
    model, x = made("batch norm"), inputs()
    buffers = {name: each.clone() for name, each in model.named_buffers()}
    state = {"2.v": 0.1 * inputs(N, 6)}
    kept = {name: each.clone() for name, each in (state | buffers).items()}
    after, moved, _ = st.run(model, state, x, buffers=buffers)
    assert_close(state | buffers, kept)
    assert not torch.equal(moved["net.1.running_mean"], buffers["net.1.running_mean"])
    memory = {each.untyped_storage().data_ptr() for each in (*after.values(), *moved.values())}
    assert not memory & {each.untyped_storage().data_ptr() for each in (*state.values(), *buffers.values())}


def test_a_run_that_fails_or_is_interrupted_leaves_the_model_as_it_is() -> None:
    model, x = made("two"), inputs()
    model(x)
    before = everything(model)
    with pytest.raises(ValueError, match=r"expected \(N, T, \.\.\.\)"):
        st.run(model, None, x[0, 0])
    points = list(points_of(partial(st.run, model, None, x)))
    for point in points[:: len(points) // 15]:
        interrupted(partial(st.run, model, None, x), point)
        assert_close(everything(model), before)


@pytest.mark.long
def test_a_network_that_is_compiled() -> None:
    model, x = made("two"), inputs()
    want = st.run(model, None, x)
    compiled: Any = torch.compile(partial(st.run, model), backend="aot_eager")
    assert_close(compiled(None, x), want)


ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "a weight of another name": ({"params": {"l1.weight": torch.ones(1)}}, r"params names l1.weight, .*net.l1.weight"),
    "a buffer that there is not": ({"buffers": {"mean": torch.ones(1)}}, "buffers names mean, .* are none"),
    "a state that would be forgotten": ({"state": {"n1.v": torch.ones(1)}, "init": True}, "Leave one of them out"),
    "a state of another network": ({"state": {"0.v": inputs(N, 6)}}, "state holds nothing for n1"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    options, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        st.run(made("two"), **{"state": None, "x": inputs(), **options})


def test_what_is_no_model_is_an_error() -> None:
    with pytest.raises(TypeError, match="model is a Two, expected a SpikingNet"):
        st.run(made("two").net, None, inputs())  # type: ignore[arg-type]


def test_a_module_at_two_places_is_not_exported() -> None:
    layer = nn.Linear(4, 4)
    model = st.SpikingNet(nn.Sequential(layer, st.LIF(), layer, st.LIF())).double()
    model(inputs())
    called = Coded(lambda own, state, x: st.run(own.model, state, x)[2], model=model)
    with pytest.raises(ValueError, match=r"at two places .* second\.weight = first\.weight shares the weights"):
        torch.export.export(called, (model.get_state(), inputs()), strict=False)
