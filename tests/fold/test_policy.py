"""What a model remembers of a network, what it leaves as it was, and what it says."""

import gc
import re
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.testing import assert_close
from tests.fold.corpus.inits import homeostasis_no_grad, learned
from tests.nets_that_step import Hole, Own, Two, centred, train

pytestmark = [
    pytest.mark.filterwarnings("ignore:SpikingNet.*step by step:RuntimeWarning"),
    pytest.mark.usefixtures("one_thread"),
]


def in_modes(net: nn.Module) -> tuple[Any, Any]:
    """Return a network over time in mode "auto", and step by step; both hold the same modules."""
    return st.SpikingNet(net, 3, warn_silent=False), st.SpikingNet(net, 3, mode="step", warn_silent=False)


def texts(call: Callable[[], object]) -> list[str]:
    """Return what a call warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(warning.message) for warning in caught]


def test_state_of_its_own_in_inference_mode() -> None:
    nets: list[Any] = [Two(homeostasis_no_grad, sl2=learned()).double() for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    models: list[Any] = [st.SpikingNet(nets[0], 3), st.SpikingNet(nets[1], 3, mode="step")]
    with torch.inference_mode():
        found, want = ([model(train()).clone(), model(train()).clone(), model.net.sl2.v0] for model in models)
    assert_close(found, want)
    assert models[0].explain(train()).mode == "step"  # out of it, where nothing is known from inside


# --- memory that is shared --------------------------------------------------------------------------------------------


def halved_then_failure(net: Any, x: Tensor, init: Any) -> Tensor:
    x = x.mul_(0.5)
    if x.shape[0] > 16:
        raise ValueError("at most 16 samples")
    return x


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "time first": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "one image for all steps": lambda x: x[:, :1].clone().expand(-1, 7, -1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("code", [lambda net, x, init: x.mul_(0.5), halved_then_failure])
def test_writes_on_its_input(code: Hole, layout: str) -> None:
    auto, step = in_modes(Two(code).double())
    given, left = (LAYOUTS[layout](2 * train()) for _ in range(2))
    (warned,) = texts(lambda: assert_close(auto(given), step(left)))
    assert re.search(r"writes on its input in place", warned)
    assert_close(given, left)


# --- what is said about it --------------------------------------------------------------------------------------------


def few(net: Any, x: Tensor, init: Any) -> Tensor:
    assert x.shape[0] <= 20, f"{tuple(x.shape)}"
    out: Tensor = net.sl1(x.flatten(1)[:, :3], init)
    return out


def test_warns_once_in_training_and_evaluation_and_for_inputs_of_several_sizes() -> None:
    model, images = st.SpikingNet(Two(lambda net, x, init: centred(x)).double(), 3), st.SpikingNet(Own(few), 3)
    found = texts(lambda: [model.train(training)(train()) for training in (True, False, True, False)])
    assert len(found) == 1, found
    found = texts(lambda: [images(torch.rand(5, 7, size, size)) for size in (4, 6, 8)])
    assert len(found) == 1, found


def test_eight_refusals_in_training_leave_evaluation_alone() -> None:
    model, _ = in_modes(Two(lambda net, x, init: centred(x) if net.training else x, temperature=1.0).double())
    for epoch in range(9):
        model.net.temperature = 0.9**epoch
        model(train())
    assert model.eval().explain(train()).mode == "fold", model.explain().reason


def test_a_number_that_decides_costs_a_proof_now_and_then() -> None:
    net: Any = Two(lambda net, x, init: centred(x) if net.epoch > 12 else x * net.temperature, temperature=1.0)
    auto, step = in_modes(net.double())
    modes: list[str] = []

    def runs(*epochs: int) -> None:
        for epoch in epochs:
            net.epoch, net.temperature = epoch, 0.9**epoch
            assert_close(auto(train()), step(train()))
            modes.append(auto.explain().mode)

    (warned,) = texts(lambda: runs(*range(20)))
    assert re.search(r"changes between calls \(epoch\).*keep epoch in a tensor, with register_buffer", warned)
    assert modes[:8] == ["fold"] * 8
    assert "step" in modes[8:12]
    runs(3, 3)  # it stays, and the next call is worth a proof
    assert modes[-1] == "fold"


class Options:
    def __init__(self, gain: float) -> None:
        self.gain = gain


def test_an_object_that_is_another_one_at_each_call_steps_and_is_told() -> None:
    net: Any = Two(lambda net, x, init: x * net.options.gain).double()
    model, step = in_modes(net)

    def runs() -> None:
        for call in range(10):
            net.options = Options(0.9**call)
            assert_close(model(train()), step(train()))

    (warned,) = texts(runs)
    assert re.search(r"changes between calls \(options.*leave it as it is between calls", warned)


# --- what it leaves alone ---------------------------------------------------------------------------------------------


def test_functional_call_with_computed_weights() -> None:
    """As a step of MAML: the weights are no leaves, and such tensors cannot be copied."""
    model = st.SpikingNet(Two().double(), 3)
    weights = {name: 0.9 * weight for name, weight in model.named_parameters()}
    torch.func.functional_call(model, weights, (train(),))
    model(train())
    assert model.explain().mode == "fold", model.explain().reason


def test_the_first_call_of_a_network_that_steps_is_not_kept_alive() -> None:
    """What was found out about it is an error, whose frames would hold inputs, outputs and graph of the call."""
    model, x = st.SpikingNet(Two(lambda net, h, init: centred(h)), 3), train().float()
    gc.collect()
    gc.disable()
    try:
        alive = weakref.ref(model(x)), weakref.ref(x)
        del x
        assert [each() for each in alive] == [None, None]
    finally:
        gc.enable()
