"""Calls with a single step: they fold as others do, and are what one step by itself is."""

from typing import Any

import pytest
import torch
from torch import nn

import spikingtorch as st
from spikingtorch.testing import assert_close
from tests.fold_nets import assert_gradients, gradients

X = 3 * torch.rand(5, 6, 4, dtype=torch.double, generator=torch.Generator().manual_seed(1))


def model_of(**options: Any) -> st.SpikingNet:
    """Return batch norm, dropout, a neuron with a state of two, and one that goes on for ever."""
    torch.manual_seed(0)
    first = nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), st.LIF(tau=4.0, v0=0.4), nn.Dropout(0.3)
    net = nn.Sequential(*first, nn.Linear(6, 3), st.CubaLIF(threshold=0.1))
    return st.SpikingNet(net.double(), **options)


def test_in_training_as_a_step() -> None:
    """The same masks of dropout, the same running statistics, states and gradients."""
    found = []
    for model in (model_of(), model_of(mode="step")):
        torch.manual_seed(2)
        inputs, out = X, X
        for t in range(3):
            inputs = X[:, t : t + 1].clone().requires_grad_()
            out = model(inputs, init=t == 0)
            assert model.explain().mode == model.mode.replace("auto", "fold")
        found.append((out.detach(), gradients(out, model, inputs), model.get_state(), dict(model.named_buffers())))
    (out, grads, state, buffers), (wanted, slopes, end, statistics) = found
    assert 0 < int(wanted.count_nonzero()) < wanted.numel()
    assert torch.equal(out, wanted)
    assert_gradients(grads, slopes)
    assert_close([state, buffers], [end, statistics])


@pytest.mark.parametrize("grad", [False, True])
def test_the_spikes_of_a_stream_are_those_of_the_sequence(grad: bool) -> None:
    model = model_of().eval()
    with torch.set_grad_enabled(grad):
        whole, end = model(X), model.get_state()
        parts = torch.cat([model(X[:, t : t + 1], init=t == 0) for t in range(6)], 1)
    assert model.explain().mode == "fold"
    assert 0 < int(whole.count_nonzero()) < whole.numel()
    assert torch.equal(parts, whole)
    assert_close(model.get_state(), end)  # one row and several may be summed in other orders
