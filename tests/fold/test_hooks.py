"""Forward hooks that only look, called once with all steps where that is asked for."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.testing import assert_close
from tests.nets_that_step import Two, train


def looked_at(**options: Any) -> tuple[st.SpikingNet, list[tuple[int, ...]]]:
    """Return a network, and the shapes of what a hook on its first layer sees."""
    torch.manual_seed(0)
    model, seen = st.SpikingNet(Two().double(), 3, **options), []
    model.net.get_submodule("l1").register_forward_hook(lambda module, args, out: seen.append(tuple(out.shape)))
    return model, seen


def test_steps_by_default_and_says_what_would_let_it_fold() -> None:
    model, seen = looked_at()
    with pytest.warns(RuntimeWarning, match=r"hooks on l1.*To let it fold, .*pass hooks='sequence'"):
        model(train())
    assert seen == [(5, 6)] * 7


def test_are_called_once_with_all_steps() -> None:
    model, seen = looked_at(hooks="sequence")
    twin = st.SpikingNet(copy.deepcopy(model.net), 3, mode="step")
    twin.net.get_submodule("l1")._forward_hooks.clear()
    for _ in range(2):
        out = model(train())
        assert_close(out, twin(train()))
    assert model.explain().mode == "fold"
    assert seen == [(35, 6)] * 2  # and not when the network was looked at
    assert len(model.net.get_submodule("l1")._forward_hooks) == 1


@pytest.mark.filterwarnings("ignore:SpikingNet.*step by step:RuntimeWarning")
def test_one_that_returns_something_steps() -> None:
    model, twin = (st.SpikingNet(Two().double(), 3, mode=mode, hooks="sequence") for mode in ("auto", "step"))
    twin.load_state_dict(model.state_dict())
    for each in (model, twin):
        each.net.get_submodule("l1").register_forward_hook(lambda module, args, out: out - out.mean(0))
    assert_close(model(train()), twin(train()))
    assert "has a forward hook that returns something" in model.explain().reason


@pytest.mark.parametrize("register", ["register_forward_pre_hook", "register_full_backward_hook"])
def test_others_step(register: str) -> None:
    model, _ = looked_at(hooks="sequence")
    getattr(model.net.get_submodule("l2"), register)(lambda *args: None)
    assert model.explain(train()).mode == "step"


def test_with_keyword_arguments() -> None:
    model, _ = looked_at(hooks="sequence")
    found: list[Any] = []

    def look(module: Any, args: tuple[Tensor, ...], kwargs: dict[str, Any], out: Tensor) -> None:
        found.append((len(args), kwargs))

    handle = model.net.get_submodule("l2").register_forward_hook(look, with_kwargs=True)
    model(train())
    handle.remove()
    model(train())
    assert found == [(1, {})]


def test_hooks_that_may_change_something_from_now_on() -> None:
    """What was found out when hooks were only looking counts no more."""
    net = nn.Sequential(nn.Linear(6, 8), st.LIF(v0=0.1))
    model, x = st.SpikingNet(net, hooks="sequence", warn_silent=False), torch.rand(5, 7, 6)
    model(x)
    assert model.explain().mode == "fold"
    net[0].register_forward_hook(lambda _module, _args, out: out - out.mean(0))
    model.hooks = "step"
    with pytest.warns(RuntimeWarning, match="has hooks on 0"):
        out = model(x)
    assert torch.equal(out, st.SpikingNet(net, mode="step")(x))
