"""An error inside of a network is the same in all modes, and the state is afterwards as it was before."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import spikingtorch as st
from spikingtorch.fold.policy import Mode
from spikingtorch.testing import assert_close
from tests.fold.test_refused import CASES, Noisy, shortcut
from tests.fold_nets import Chain, lif, states, train
from tests.nets_that_step import Own, Two
from tests.nets_that_step import train as inputs

Fault = Callable[[Tensor], Any]


class Faulty(Chain):
    """Goes wrong in its second half, in a way to choose."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(lif(), lif())
        self.fault = [fault]

    def forward(self, x: Tensor, init: bool) -> Tensor:
        out = self.first(self.l1(x), init)
        self.fault[0](out)
        last: Tensor = self.second(self.l2(out), init)
        return last


FAULTS: dict[str, Fault] = {
    "shape": lambda x: x @ torch.ones(7, 7),
    "attribute": lambda x: x.no_such_thing,
    "key": lambda x: vars(x)["key"],
    "type": lambda x: x + "a",
    "concatenation": lambda x: torch.cat([x, x[:, :1]]),
    "division": lambda x: 1 / 0,
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_an_error_of_the_network_is_the_same_in_all_modes(fault: Fault) -> None:
    found: list[Any] = []
    modes: tuple[Mode, ...] = ("step", "auto")
    for mode in modes:
        model = st.SpikingNet(Faulty(fault), 3, mode=mode)
        for _ in range(2):
            with pytest.raises(Exception) as caught:
                model(train(model, 3, 5))
            error = caught.value
            found.append((type(error), str(error), getattr(error, "__notes__", [])))
    assert found == [found[0]] * 4
    assert found[0][0] is not AssertionError


def test_wrong_shape_is_the_same_error_in_all_modes() -> None:
    found = []
    modes: tuple[Mode, ...] = ("step", "fold", "auto")
    for mode in modes:
        model = st.SpikingNet(Chain(lif(), lif()), 4, mode=mode)
        with pytest.raises(ValueError, match=r"net returned shape \(\d+, 3\), expected \(N, \*Nout\)") as caught:
            model(train(model, 3, 5))
        found.append(str(caught.value))
    assert found[0] == found[2]


def large(x: Tensor) -> None:
    if len(x) == 15:
        raise RuntimeError("fifteen samples are too many")


def test_network_that_fails_folded_goes_on_stepwise() -> None:
    model = st.SpikingNet(Faulty(large), 3)
    twin = st.SpikingNet(Chain(lif(), lif()), 3, mode="step")
    twin.net.load_state_dict(model.net.state_dict())
    x = train(model, 3, 5)
    twin(x[:, :4])
    model(x[:, :4])
    assert model.explain().mode == "fold"
    assert_close(states(model), states(twin))
    failed = r"failed with all steps at once \(RuntimeError: fifteen samples are too many"
    with pytest.warns(RuntimeWarning, match=failed):
        got = model(x, init=False)
    assert_close(got, twin(x, init=False))
    assert_close(states(model), states(twin))
    for _ in range(2):
        assert model.explain().mode == "step"
        assert_close(model(x), twin(x))


@pytest.mark.parametrize("mode", ["fold", "auto"])
def test_state_after_a_failed_folded_call_is_as_before(mode: Mode) -> None:
    net = Faulty(lambda x: None)
    model = st.SpikingNet(net, 3, mode=mode)
    x = train(model, 3, 5)
    model(x)
    before = states(model)
    net.fault[0] = FAULTS["shape"]
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        model(x, init=False)
    assert net.first._fold is None
    assert net.second._fold is None
    assert_close(states(model), before)
    net.fault[0] = lambda x: None
    model(x, init=False)


# --- mode "fold" ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("if init", r"mode='fold' cannot run Two because it branches on init\. mode='auto' runs it step by step"),
        ("shortcut", "writes in place on the input of a LIF layer"),
        ("drawn threshold", "draws the parameters of a Noisy layer at random"),
        ("drawn parameter", r"draws the parameters of a \w+ layer at random"),
    ],
)
def test_what_has_to_step_is_an_error_in_mode_fold(name: str, message: str) -> None:
    makes = {name: make for some in CASES.values() for name, make in some.items()}
    model = st.SpikingNet(makes[name]().double(), 3, mode="fold")
    with pytest.raises(ValueError, match=message):
        model(inputs())


def test_writing_on_the_input_of_a_layer_without_a_gradient_folds() -> None:
    model = st.SpikingNet(Own(shortcut).double(), 3)
    with torch.no_grad():
        assert_close(model(inputs()), st.SpikingNet(model.net, 3, mode="step")(inputs()))
    assert model.explain().mode == "fold"


GENERATOR = torch.Generator().manual_seed(0)


class OfNobody(Noisy):
    """A threshold from a generator that belongs to no module."""

    def drawn(self) -> Any:
        return torch.rand((), generator=GENERATOR).item()


def test_parameters_from_a_generator_of_nobody_are_drawn_at_each_step() -> None:
    model = st.SpikingNet(Two(sl2=OfNobody(decay=0.0)).double(), 3)
    with pytest.warns(RuntimeWarning, match="parameters of"):
        out = model(inputs())
    assert model.explain().mode == "step"
    assert out.var(1).sum() > 0
