"""Arguments that may be meant otherwise: a number of neurons, a value per channel, a threshold at rest."""

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
