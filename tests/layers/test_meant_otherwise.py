"""Arguments that may be meant otherwise: a number of neurons, a value per channel, a threshold at rest, a decay."""

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import spikingtorch as st
from spikingtorch import functional as F

COLUMNS = torch.full((8,), 3.0)
WAYS: list[dict[str, Any]] = [{}, {"mode": "step"}, {"batch_first": False}, {"recompute": True, "time_chunk": 2}]


def run(make: Callable[[], nn.Module], *shape: int, **options: Any) -> None:
    model = st.SpikingNet(nn.Sequential(make()), **options)
    for samples in (3, 5):
        model(torch.rand(*((samples, 4) if model.batch_first else (4, samples)), *shape)).sum()


def count(owner: str, name: str = "tau") -> str:
    call = rf"{owner}\({name}=64\)"
    return rf"{owner}: {owner}\(64\) means {call}, and .* \(64,\), has as many channels\. .*; write {call} if .*$"


def columns(name: str) -> str:
    return rf"{name} of shape \(8,\) has .*, write {name}\.view\(8, 1, 1\); .* now, {name}\.view\(1, 1, 8\)$"


CASES: list[tuple[str | None, Callable[[], object]]] = [
    *((count("LIF"), partial(run, lambda: st.LIF(64), 64, **way)) for way in WAYS),
    *((count(kind.__name__), partial(run, partial(kind, 64), 64)) for kind in (st.LI, st.CoarseLIF, st.ALIF)),
    (count("IF", "threshold"), lambda: st.IF(64)(torch.rand(3, 64))),
    *((None, partial(run, partial(st.LIF, *args), *shape)) for args, shape in (((64.0,), (64,)), ((32,), (64,)))),
    (None, partial(run, lambda: st.LIF(tau=64), 64)),
    (None, partial(run, lambda: st.LIF(8), 8)),  # the default
    *((columns("tau"), partial(run, lambda: st.LIF(COLUMNS), 8, 8, 8, **way)) for way in WAYS[:2]),
    (columns("recurrent"), partial(run, lambda: st.LIF(recurrent=COLUMNS), 8, 8, 8)),
    (None, partial(run, lambda: st.LIF(COLUMNS.view(1, 1, 8)), 8, 8, 8)),
    (None, partial(run, lambda: st.LIF(COLUMNS), 8, 8)),  # features of tokens
    ("IF: threshold=0 is not above the membrane at rest, 0, so .* compares its input with any", lambda: st.IF(0)),
    ("LIF: threshold=-0.5 is not", lambda: st.LIF(threshold=torch.tensor([1.0, -0.5]))),
    ("ExponentialIF: threshold=-65 is not .* -65", lambda: st.ExponentialIF(threshold=-65.0, v_rest=-65.0)),
    (None, lambda: (st.McPitts(-1.0), st.ExponentialIF(threshold=-50.0, v_rest=-65.0))),
    (None, lambda: st.LIF(threshold=0.0, surrogate=F.Strict(F.Arctan()))),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_what_may_be_meant_otherwise_is_warned_of_once_and_nothing_else_is(case: int) -> None:
    message, call = CASES[case]
    if message is None:
        call()  # a warning is an error
        return
    with pytest.warns(UserWarning, match=message) as caught:
        call()
    assert [Path(each.filename).name for each in caught] == ["test_meant_otherwise.py"]


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
    assert [Path(each.filename).name for each in caught] == ["test_meant_otherwise.py"]


def test_once_for_each_line() -> None:
    class Narrow(st.LIF):
        """A layer whose constructor stands outside of the library."""

        def __init__(self, tau: float) -> None:
            super().__init__(tau)

    def layers() -> list[object]:
        return [st.LIF(0.9), st.LIF(0.9), Narrow(0.9), Narrow(0.9)]

    with warnings.catch_warnings(record=True, action="default") as caught:
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
