"""A decay that is given as a time constant or as a slope, as from snnTorch, is warned of; nothing else is."""

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import spikingtorch as st
from spikingtorch import functional as F

DECAYS: dict[str, Callable[[], object]] = {
    r"LIF: tau=0\.9 is a time.* exp\(-1 / 0\.9\) = 0\.33\..*write LIF\(decay=0\.9\);.*LIF\(tau=0\.9, dt=\.\.\.\)$": (
        lambda: st.LIF(0.9)
    ),
    r"LIF: tau=0\.9 .*write LIF\(decay=0\.9\); ": lambda: st.LIF(tau=0.9, learnable="tau"),
    r"LIF: tau=0\.02 .*1\.9e-22\.": lambda: st.LIF(tau=0.02),
    r"LI: tau=0\.5 .*write LI\(decay=0\.5\); ": lambda: st.LI(0.5),
    r"ALIF: tau=0\.9 .*write ALIF\(tau=9\.491\); ": lambda: st.ALIF(0.9),
    r"CubaLIF: tau=0\.8 .*write CubaLIF\(tau=4\.481\); ": lambda: st.CubaLIF(0.9, 0.8),
    (
        r"LIF: beta=0\.9 is the slope of the surrogate.* tau=8 steps\. .*write LIF\(decay=0\.9\); "
        r"for this slope, LIF\(surrogate=Sigmoid\(0\.9\)\)$"
    ): lambda: st.LIF(beta=0.9),
    r"LIF: beta=0\.95 .*write LIF\(decay=0\.95\)": lambda: st.LIF(beta=0.95, threshold=0.5),
}


@pytest.mark.parametrize("message", DECAYS, ids=range(len(DECAYS)))
def test_a_decay_in_another_place_is_warned_of(message: str) -> None:
    with pytest.warns(UserWarning, match=message) as caught:
        DECAYS[message]()
    assert [Path(each.filename).name for each in caught] == ["test_decay_or_tau.py"]


def test_once_for_each_line() -> None:
    class Narrow(st.LIF):
        """A layer whose constructor stands outside of the library."""

        def __init__(self, tau: float) -> None:
            super().__init__(tau)

    def layers() -> list[object]:
        return [st.LIF(0.9), st.LIF(0.9), Narrow(0.9), Narrow(0.9)]

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            layers()
    assert [str(each.message).split(":")[0] for each in caught] == ["LIF", "Narrow"]


MEANT: dict[str, Callable[[], object]] = {
    "a time in seconds": lambda: st.LIF(tau=0.02, dt=0.001),
    "a short time that is meant": lambda: st.LIF(tau=0.5, dt=1.0),
    "one step": lambda: st.LIF(1.0),
    "one for each neuron": lambda: st.LIF(torch.tensor([0.5, 2.0])),
    "a decay": lambda: st.LIF(decay=0.9),
    "a slope beside a time": lambda: st.LIF(8.0, 1.0, 0.9),
    "the same by name": lambda: st.LIF(tau=8, beta=0.9),
    "a slope beside a decay": lambda: st.LIF(decay=0.9, beta=0.5),
    "a steep slope": lambda: st.LIF(beta=1.0),
    "a surrogate": lambda: st.LIF(surrogate=F.Sigmoid(0.9)),
    "a neuron without a decay": lambda: st.IF(beta=0.9),
    "a divisor": lambda: st.SpikingDecay(0.9),
    "a step of one's own": lambda: st.StepLayer(F.lif_step, F.LIFState, decay=0.9),
}


@pytest.mark.parametrize("case", MEANT)
def test_what_is_meant_is_not_warned_of(case: str) -> None:
    MEANT[case]()  # warnings are errors here
