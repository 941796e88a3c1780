"""A call that fails or is interrupted, wherever that happens, commits nothing."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from spikingtorch.testing import assert_close
from tests.contract.networks import NETWORKS, Two, both, two
from tests.contract.oracle import QUIETLY, Network, State, cut, draw
from tests.interrupts import interrupted, points_of

pytestmark = QUIETLY
MODES: Any = ("auto", "step", "fold")


class Fails(Exception):  # noqa: N818
    """An error of the users' own."""


class Fuse(nn.Module):
    """Hand x on; once it is armed, do something else at a call that comes after some others."""

    def __init__(self) -> None:
        super().__init__()
        self.burn: Callable[[Tensor], Tensor] | None = None
        self.after = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.burn is not None:
            self.after -= 1
            if self.after < 0:
                return self.burn(x)
        return x


class Fused(Two):
    """Code, an encoder say, before, between and after the layers."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.between, self.after = Fuse(), Fuse(), Fuse()

    def forward(self, x: Tensor, init: Any) -> Any:
        spikes = self.n1(self.l1(self.before(x)), init)
        return self.after(self.n2(self.l2(self.between(spikes)), init))


FUSED = Network("fails when it is told to", Fused, two, both())


def raising(error: type[BaseException]) -> Callable[[Tensor], Tensor]:
    def burn(x: Tensor) -> Tensor:
        raise error

    return burn


def nan(x: Tensor) -> Tensor:
    return x * float("nan")


Fail = Callable[[Any, Any], None]  # calls a model, with init, so that it fails
MASK = torch.tensor([True, False, True])


def others(model: Any, after: int) -> int:
    """Return how many calls come before the one that fails; a fold that is not in chunks has one."""
    return 0 if model.mode == "fold" and model.time_chunk is None else after


def at(place: str, burn: Callable[[Tensor], Tensor], after: int = 0) -> Fail:
    def fail(model: Any, init: Any) -> None:
        fuse = getattr(model.net, place)
        fuse.burn, fuse.after = burn, others(model, after)
        try:
            model(draw(7), init=init)
        finally:
            fuse.burn = None

    return fail


def in_hook(place: str, register: str, after: int = 0) -> Fail:
    def fail(model: Any, init: Any) -> None:
        left = [others(model, after)]

        def hook(*_: Any) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Fails

        with getattr(model.get_submodule(place), register)(hook):
            model(draw(7), init=init)

    return fail


def given(change: Callable[[Tensor], Tensor]) -> Fail:
    return lambda model, init: model(change(draw(7)), init=init)


# what fails, and the error that comes out of the call
FAILURES: dict[str, tuple[Fail, type[BaseException]]] = {
    "before all layers": (at("before", raising(Fails)), Fails),
    "between layers": (at("between", raising(Fails)), Fails),
    "between layers, at another step": (at("between", raising(Fails), 2), Fails),
    "after all layers": (at("after", raising(RuntimeError)), RuntimeError),
    "after all layers, at another step": (at("after", raising(ValueError), 2), ValueError),
    "interrupted before": (at("before", raising(KeyboardInterrupt), 1), KeyboardInterrupt),
    "interrupted between": (at("between", raising(KeyboardInterrupt)), KeyboardInterrupt),
    "exit": (at("after", raising(SystemExit), 1), SystemExit),
    "a layer is given NaN": (at("between", nan, 1), ValueError),
    "net returns another size": (at("after", lambda x: x[:, :-1]), ValueError),
    "hook of a layer": (in_hook("net.n1", "register_forward_hook", 1), Fails),
    "pre-hook of the last layer": (in_hook("net.n2", "register_forward_pre_hook", 2), Fails),
    "hook of net": (in_hook("net", "register_forward_hook"), Fails),
    "pre-hook of the network": (in_hook("", "register_forward_pre_hook"), Fails),
    "x has NaN": (given(nan), ValueError),
    "x has other features": (given(lambda x: x[..., :-1]), ValueError),
    "x has no steps": (given(lambda x: x[:, :0]), ValueError),
    "lengths are wrong": (lambda model, init: model(draw(7), init, lengths=torch.tensor([1, 2, 99])), ValueError),
    "init is of another batch": (lambda model, init: model(draw(7), init=torch.ones(7).bool()), ValueError),
}
OPTIONS: dict[str, dict[str, Any]] = {"": {}, "in chunks": {"time_chunk": 2}, "with its graph": {"carry_graph": True}}


def shown(model: Any) -> list[Any]:
    return [(layer.v, layer.s, layer.state) for layer in (model.net.n1, model.net.n2)]


def bits(tree: Any) -> Any:
    return pytree.tree_map(lambda leaf: leaf.detach().clone() if isinstance(leaf, Tensor) else leaf, tree)


@pytest.mark.sampled
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("init", [True, False, MASK], ids=["new", "going on", "mask"])
@pytest.mark.parametrize("what", FAILURES)
def test_a_call_that_fails_commits_nothing(what: str, init: Any, mode: Any, options: str) -> None:
    fail, error = FAILURES[what]
    model: Any = FUSED.model(mode=mode, Nout=5, **OPTIONS[options])
    with pytest.raises(error):
        fail(model, True)
    assert model.get_state() == {}
    assert model.net.n1.v is model.net.n2.s is None
    params, state, x = dict(model.net.named_parameters()), FUSED.rest(), draw(1).requires_grad_()
    out = model(x)
    assert_close(out.detach(), FUSED.run(params, state, x).detach())
    before = bits(shown(model))
    with pytest.raises(error):
        fail(model, init)
    torch.testing.assert_close(bits(shown(model)), before, rtol=0, atol=0)
    carries = OPTIONS[options].get("carry_graph", False)
    want = FUSED.run(params, state if carries else cut(state), x, begins=False)
    got = model(x, init=False)
    assert_close(torch.autograd.grad(got.sum(), x), torch.autograd.grad(want.sum(), x))
    assert_close(got.detach(), want.detach())


STEPPING = [name for name, network in NETWORKS.items() if not network.folds]


@pytest.mark.parametrize("name", STEPPING)
def test_what_cannot_fold_is_an_error_that_commits_nothing(name: str) -> None:
    network = NETWORKS[name]
    model, x = network.model(mode="step"), draw(1)
    params, state = dict(model.net.named_parameters()), network.rest()
    model(x)
    network.run(params, state, x)
    model.mode = "fold"
    for init in (True, False):
        with pytest.raises(ValueError, match="mode='fold' cannot run"):
            model(draw(7), init=init)
    assert_close(model.get_state(), cut(state))
    model.mode = "step"
    want = network.run(params, state, x, begins=False)
    assert_close(model(x, init=False).detach(), want.detach())


INTERRUPTED = [("two", "auto"), ("two", "step"), ("recurrent", "fold"), ("blocks", "auto"), ("a step within", "step")]


@pytest.mark.parametrize("count", [12, pytest.param(200, marks=pytest.mark.long)])
@pytest.mark.parametrize(("name", "mode"), INTERRUPTED)
def test_a_call_that_is_interrupted_commits_all_or_nothing(name: str, mode: Any, count: int) -> None:
    """Interrupt a call that goes on at some instructions; one that has come to its end is committed as a whole."""
    network = NETWORKS[name]
    model, x = network.model(mode=mode), draw(1, 2)
    params, start = dict(model.net.named_parameters()), network.rest()
    model(x)
    network.run(params, start, x)
    start = cut(start)
    after: State = dict(start)
    want = network.run(params, after, x, begins=False).detach()
    work = partial(model, x, init=False)
    work()
    points = [*points_of(work)]
    undone = 0
    for point in points[:: max(1, len(points) // count)]:
        model.set_state(start)
        if not interrupted(work, point):
            continue
        now = model.get_state()
        if any(not torch.equal(now[name], start[name]) for name in start):
            assert_close(now, cut(after))
            model.set_state(start)
        else:
            undone += 1
        assert_close(work().detach(), want)
        assert_close(model.get_state(), cut(after))
    assert undone >= min(count, len(points)) * 3 // 4
