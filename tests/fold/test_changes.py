"""What changes around a network between two calls, and what stays; changes in a network are in the corpus."""

import copy
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch.nn.modules import module as torch_module
from torch.overrides import TorchFunctionMode

import spikingtorch as st
from spikingtorch.testing import assert_close
from tests.nets_that_step import Two, centred, readout, train

pytestmark = pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning")


def network(*code: Any) -> Any:
    torch.manual_seed(0)
    return readout(*code).double()


@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward", "full_backward_pre"])
def test_hooks_of_all_modules(kind: str) -> None:
    net = network()
    model, calls = st.SpikingNet(net, 3), []
    model(train())
    handle = getattr(torch_module, f"register_module_{kind}_hook")(lambda *args: calls.append(1))
    try:
        model(train())
        assert "hooks of all modules" in model.explain().reason
    finally:
        handle.remove()
    assert len(calls) == (7 * 5 + 1 if "forward" in kind else 0)
    model(train())
    assert model.explain().mode == "fold"


def test_hooks_that_are_gone_again_or_put_anew() -> None:
    model: Any = st.SpikingNet(network(), 3)
    model.net.sl1.register_forward_hook(lambda *args: None).remove()
    model(train())
    assert model.explain().mode == "fold"
    model.net.sl1._forward_hooks = OrderedDict()  # as those do who clear all hooks of a model by hand
    model(train())
    calls: list[int] = []
    model.net.sl1.register_forward_hook(lambda *args: calls.append(1))
    model(train())
    assert len(calls) == train().shape[1]


def test_another_network_in_the_place_of_one_that_folds() -> None:
    auto, step = st.SpikingNet(network(), 3), st.SpikingNet(network(), 3, mode="step")
    auto(train())
    auto.net = step.net = Two(lambda net, x, init: centred(x)).double()
    assert_close(auto(train()), step(train()))
    assert auto.explain().mode == "step"


def test_a_copy_looks_for_itself() -> None:
    model = st.SpikingNet(Two(lambda net, x, init: centred(x) if net.flag else x, flag=False).double(), 3)
    model(train())
    other: Any = copy.deepcopy(model)
    other.net.flag = True
    other(train())
    assert (model.explain(train()).mode, other.explain(train()).mode) == ("fold", "step")


class MixingRelu(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        return centred(out) if func is torch.relu else out


def test_a_mode() -> None:
    net = network(lambda net, x, init: torch.relu(x))
    model = st.SpikingNet(net, 3)
    model(train())
    with MixingRelu():
        assert_close(model(train()), st.SpikingNet(net, 3, mode="step")(train()))
