"""Recurrent neurons: torch's product between two steps, and the kernel of one step, which runs on slices of arrays."""

from typing import Any

import pytest
import torch
from torch import nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from tests.functional.fused.recurrent import cases
from tests.functional.fused.recurrent.cases import Case, check, draw
from tests.gpu_text.launch import Interpreter


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


def test_a_layer_in_a_network(target: Interpreter) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), st.LIF(recurrent=nn.Linear(4, 4, bias=False), learnable=True))
    model = st.SpikingNet(net, (4,)).double()
    x = torch.rand(3, 6, 5, dtype=torch.float64)
    found = []
    for mode in ("fold", "step"):
        model.mode = mode
        out = model(x)
        found.append([out.detach(), *torch.autograd.grad((out * x[..., :4]).sum(), list(model.parameters()))])
        assert target.launches > 0
    assert_close(found[0], found[1], "the layer over time, and step by step")
