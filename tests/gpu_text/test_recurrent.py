"""Recurrent neurons: torch's product between two steps, and the kernel of one step, which runs on slices of arrays."""

from typing import Any

import pytest
import torch

from spikingtorch import functional as F
from tests import recurrences as cases
from tests.gpu_text.launch import Interpreter
from tests.recurrences import Case, check, draw


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@cases.each_of(cases.CASES)
def test_every_synapse(target: Interpreter, case: Case, dtype: torch.dtype) -> None:
    shape = () if dtype == torch.float64 else case.shape
    for steps in (1, 5):
        check(draw(case, steps, dtype=dtype, decay=shape, threshold=shape))
    assert target.launches > 0


@pytest.mark.parametrize("reset", [F.to_zero, F.by_subtraction])
@cases.each_of(cases.FEW)
def test_more_steps_than_a_chunk_and_another_neuron(target: Interpreter, case: Case, reset: Any) -> None:
    check(draw(case, 17, reset=reset, step=F.if_step))
    assert target.launches > 0


@cases.each_of(cases.FEW)
def test_records(target: Interpreter, case: Case) -> None:
    scan = draw(case, 9)
    step: Any = F.recorded(scan.step, "v", "s", "u", "threshold")
    recorded = scan._replace(step=step)
    check(recorded)
    assert target.launches > 0
    (state, spikes), (with_records, (same, _)) = scan.run("fused"), recorded.run("fused")
    assert torch.equal(same, spikes)
    assert torch.equal(with_records.neuron.v, state.neuron.v)
