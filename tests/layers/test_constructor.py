"""constructor_of: what a class declares is its signature, and arguments that do not fit raise as for any function."""

import inspect
from typing import Any

import pytest

from spikingtorch import AdEx, StepLayer
from spikingtorch import functional as F
from spikingtorch.layers.constructor import constructor_of

_ADEX: Any = AdEx  # to type checkers, which know the signature as well


class Halving(StepLayer):
    """A leaky neuron that halves its membrane, by default."""

    @constructor_of(F.lif_step, F.LIFState, reset=F.none)
    def __init__(self, decay: float = 0.5, *, threshold: float = 1.0, **options: Any) -> None:
        """Take the parameters."""


def test_the_signature_is_what_was_declared() -> None:
    assert [*inspect.signature(Halving).parameters] == ["decay", "threshold", "options"]
    assert Halving.__init__.__doc__ == "Take the parameters."
    assert inspect.signature(AdEx).parameters["tau_w"].default == 40.0


def test_arguments_reach_the_class_above_by_name_and_in_order() -> None:
    layer = Halving(0.25, learnable="decay")
    assert repr(layer) == "Halving(reset=none, decay=0.25 (learnable), threshold=1.0)"


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


def test_a_class_between_it_and_the_base_takes_its_turn() -> None:
    class Noted(StepLayer):
        def __init__(self, *args: Any, note: str = "", **options: Any) -> None:
            super().__init__(*args, **options)
            self.note = note

    class Both(Halving, Noted):
        pass

    assert Both(0.5, note="here").note == "here"
