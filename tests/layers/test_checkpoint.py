"""Layers inside ``torch.utils.checkpoint``, which calls them a second time in the backward pass."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import spikingtorch as st
from spikingtorch.testing import assert_close
from tests.nets_that_step import Own

Run = Callable[..., Any]


def plain(function: Run, *args: Any) -> Any:
    return function(*args)


def repeated(function: Run, *args: Any) -> Any:
    return checkpoint(function, *args, use_reentrant=False)


def reentrant(function: Run, *args: Any) -> Any:
    return checkpoint(function, *args, use_reentrant=True)


def assert_same(act: Callable[[Run], Any], run: Run = repeated) -> None:
    """Assert that something is the same with calls inside checkpoint as without it."""
    assert_close(act(run), act(plain))


def network() -> st.SpikingNet:
    layers = nn.Linear(10, 12), st.LIF(tau=4.0, v0=0.3), nn.Linear(12, 8), st.CoarseLIF(tau=3.0, v0=0.1)
    return st.SpikingNet(nn.Sequential(*layers).double(), 8)


def draw(seed: int = 0, T: int = 9) -> Tensor:
    return torch.rand(3, T, 10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def a_layer(**options: Any) -> Any:
    return st.LIF(tau=4.0, v0=0.4, **options).double()


def a_sequence() -> Tensor:
    return draw()[0].requires_grad_()


def in_one_region(layer: Any, xs: Tensor, run: Run) -> Tensor:
    """Call a layer for all steps inside one checkpoint, and read its state between them."""

    return run(lambda xs: torch.stack([layer(x, init=t == 0) * torch.sigmoid(layer.v) for t, x in enumerate(xs)]), xs)


def test_many_calls_and_the_state_between_them() -> None:
    def act(run: Run) -> Any:
        layer, xs = a_layer(learnable="tau"), a_sequence()
        out = in_one_region(layer, xs, run)
        layer(torch.full((10,), 0.2, dtype=torch.float64), init=True)
        kept = layer.v.clone()
        found = torch.autograd.grad(out.square().sum(), [xs, layer.tau])
        assert torch.equal(layer.v, kept)
        return found

    assert_same(act)


def test_one_checkpoint_in_another() -> None:
    def act(run: Run) -> Any:
        layer, xs = a_layer(learnable="tau"), a_sequence()

        def once(x: Tensor, init: bool) -> Any:
            return run(lambda x: torch.sin(layer(x, init)) * x, x)

        out = torch.stack([run(once, x, t == 0) for t, x in enumerate(xs)])
        return torch.autograd.grad(out.square().sum(), [xs, layer.tau])

    assert_same(act)


def test_a_network_that_decides_after_its_first_call_goes_the_same_way_in_both_runs() -> None:
    lazy = Own(lambda net, x, init: net.sl1(net.module(x), init), module=nn.LazyLinear(5))
    model = st.SpikingNet(lazy, 5)
    x = torch.rand(2, 6, 4).requires_grad_()
    for _ in range(2):
        repeated(model, x).sum().backward()
    assert model.explain().mode == "fold"
    assert x.grad is not None


def test_graphs_and_their_states_are_freed() -> None:
    layer, xs, gone = a_layer(learnable="tau"), a_sequence(), []
    for backward in (True, False):
        out = in_one_region(layer, xs, repeated)
        gone += [weakref.ref(out), weakref.ref(layer.v)]
        if backward:
            out.sum().backward()
        layer.reset()
        del out
    gc.collect()
    assert [each() for each in gone] == [None] * 4


# --- errors -----------------------------------------------------------------------------------------------------------


def in_the_second_run_only() -> Callable[[Any, Tensor], Any]:
    runs: list[int] = []

    def code(layer: Any, x: Tensor) -> Any:
        runs.append(1)
        return torch.sin(x).exp().cos() if len(runs) == 1 else layer(x)

    return code


def one_call(way: Run, code: Callable[[Any, Tensor], Any]) -> Any:
    """Call a layer before, within and after a region."""
    layer, (first, x, last) = a_layer(), draw()
    layer(first, init=True)
    out = way(lambda x: code(layer, x), x.requires_grad_())
    layer(last)
    return out


def sequences(call: Run, x: Tensor) -> Any:
    """Repeat the last call first, whose state is that of another sequence."""
    return torch.stack([reentrant(call, x, init).sum() for init in (True, False, True)])


def nested(outer: Run, inner: Run) -> Any:
    layer, xs = a_layer(), a_sequence()

    def once(x: Tensor, init: bool) -> Any:
        y = inner(layer, x, init)
        return y * torch.sin(y)  # so that the outer checkpoint has to run the inner one once more

    return torch.stack([outer(once, x, t == 0) for t, x in enumerate(xs)])


ONE = "use_reentrant=False and one checkpoint"
ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "reads the state first": (
        lambda: one_call(repeated, lambda layer, x: layer(x * torch.sin(layer.v) * x)),
        "reads the state of a spiking layer before it calls the layer",
    ),
    "calls in the second": (lambda: one_call(repeated, in_the_second_run_only()), "more often in the backward pass"),
    "reads the state afterwards": (
        lambda: one_call(reentrant, lambda layer, x: layer(x, True) * torch.sin(layer.v)),
        r"LIF\.v: called in a backward pass",
    ),
    "two sequences of a layer": (lambda: sequences(a_layer(), a_sequence()), ONE),
    "two sequences of a network": (lambda: sequences(network(), draw().requires_grad_()), ONE),
    "reentrant steps": (lambda: nested(plain, reentrant), ONE),
    "one in another": (lambda: nested(repeated, repeated), ONE),
}


# torch 2.12 ends a generator of its own with an error that nobody can catch
@pytest.mark.filterwarnings("ignore:Exception ignored in.*_checkpoint_without_reentrant_generator")
@pytest.mark.parametrize("name", ERRORS)
def test_what_cannot_know_its_start_is_an_error(name: str) -> None:
    make, message = ERRORS[name]
    out = make()
    with pytest.raises(RuntimeError, match=message):
        out.sum().backward()
