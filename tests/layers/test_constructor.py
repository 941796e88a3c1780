"""What a layer's class declares is its signature, and arguments that do not fit raise as for any function."""

import inspect
from typing import Any

import pytest

from spikingtorch import AdEx, StepLayer

_ADEX: Any = AdEx  # to type checkers, which know the signature as well


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: _ADEX(*range(1, 10)), r"AdEx.__init__\(\) takes from 1 to 9 positional arguments but 10 were given"),
        (lambda: _ADEX(8.0, tau=2.0), r"AdEx.__init__\(\) got multiple values for argument 'tau'"),
        (lambda: _ADEX(speed=2.0), r"AdEx: there is no argument 'speed'; it takes tau, threshold, tau_w"),
    ],
)
def test_arguments_that_do_not_fit_raise(call: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        call()


def test_arguments_reach_the_layer_and_a_class_between_it_and_the_base_takes_its_turn() -> None:
    class Noted(StepLayer):
        def __init__(self, *args: Any, note: str = "", **options: Any) -> None:
            super().__init__(*args, **options)
            self.note = note

    class Both(AdEx, Noted):
        pass

    parameters = inspect.signature(AdEx).parameters
    assert [*parameters][:3] == ["tau", "threshold", "tau_w"]
    assert parameters["tau_w"].default == 40.0
    make: Any = Both
    both = make(4.0, learnable="tau", note="here")
    assert (both.note, both.tau.item(), both.tau_w) == ("here", 4.0, 40.0)
