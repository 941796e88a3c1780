"""An error inside of a network is the same in all modes, and the state is afterwards as it was before."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import spikingtorch as st
from spikingtorch.fold.policy import Mode
from spikingtorch.testing import assert_close
from tests.fold.corpus import TABLE
from tests.fold.corpus.inits import shortcut
from tests.fold_nets import states
from tests.nets_that_step import Own, Two, besides, train

Fault = Callable[[Any], Any]
MODES: tuple[Mode, ...] = ("step", "auto", "fold")


def faulty(faults: list[Fault]) -> Two:
    """Return a network that goes wrong in its second half, in a way to choose."""
    torch.manual_seed(0)
    return Two(between=besides(lambda net, x: faults[0](x))).double()


FAULTS: dict[str, Fault] = {
    "shape": lambda x: x @ x,
    "attribute": lambda x: x.no_such_thing,
    "key": lambda x: vars(x)["key"],
    "type": lambda x: x + "a",
    "concatenation": lambda x: torch.cat([x, x[:, :1]]),
    "division": lambda x: 1 / 0,
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_an_error_of_the_network_is_the_same_in_all_modes(fault: Fault) -> None:
    found: list[Any] = []
    for mode in MODES[:2]:
        model = st.SpikingNet(faulty([fault]), 3, mode=mode)
        for _ in range(2):
            with pytest.raises(Exception) as caught:
                model(train())
            error = caught.value
            found.append((type(error), str(error), getattr(error, "__notes__", [])))
    assert found == [found[0]] * 4
    assert found[0][0] is not AssertionError


def large(x: Any) -> None:
    if len(x) == 15:
        raise RuntimeError("fifteen samples are too many")


def test_network_that_fails_folded_goes_on_stepwise() -> None:
    model, twin = st.SpikingNet(faulty([large]), 3), st.SpikingNet(faulty([large]), 3, mode="step")
    x = train(3, 5)
    twin(x[:, :4])
    model(x[:, :4])
    assert model.explain().mode == "fold"
    assert_close(states(model), states(twin))
    failed = r"does not run on 15 samples \(RuntimeError: fifteen samples are too many"
    with pytest.warns(RuntimeWarning, match=failed):
        got = model(x, init=False)
    assert_close(got, twin(x, init=False))
    assert_close(states(model), states(twin))
    for _ in range(2):
        assert model.explain().mode == "step"
        assert_close(model(x), twin(x))


# --- mode "fold" ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "it asks if init",
            r"mode='fold' cannot run Two because it branches on init\. mode='auto' runs it step by step",
        ),
        ("the input of a layer is written on", "writes in place on the input of a LIF layer"),
        ("a layer draws its threshold", "draws the parameters of a Noisy layer at random"),
        ("a parametrization draws a parameter of a layer", r"draws the parameters of a \w+ layer at random"),
        ("a network over time that is handed init", "hands init to a SpikingNet, which runs over time by itself"),
    ],
)
def test_what_has_to_step_is_an_error_in_mode_fold(name: str, message: str) -> None:
    model = st.SpikingNet(TABLE[name].network(), 3, mode="fold")
    with pytest.raises(ValueError, match=message):
        model(train())


def test_writing_on_the_input_of_a_layer_without_a_gradient_folds() -> None:
    model = st.SpikingNet(Own(shortcut).double(), 3)
    with torch.no_grad():
        assert_close(model(train()), st.SpikingNet(model.net, 3, mode="step")(train()))
    assert model.explain().mode == "fold"
