"""Calls with a single step: they fold as others do, and are what one step by itself is."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from tests.fold_nets import assert_gradients, gradients


class Net(nn.Module):
    """Batch norm, dropout, a neuron with a state of two, and one that goes on for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.l1, self.norm, self.drop = nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), nn.Dropout(0.3)
        self.first, self.l2, self.second = st.LIF(tau=4.0, v0=0.4), nn.Linear(6, 3), st.CubaLIF(threshold=0.1)

    def forward(self, x: Tensor, init: bool) -> Tensor:
        out: Tensor = self.second(self.l2(self.drop(self.first(self.norm(self.l1(x)), init))), init)
        return out


def model_of(**options: Any) -> st.SpikingNet:
    torch.manual_seed(0)
    return st.SpikingNet(Net().double(), **options)


def sequence(N: int = 5, T: int = 6) -> Tensor:
    return 3 * torch.rand(N, T, 4, dtype=torch.double, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of steps of each call that was folded."""
    found: list[int] = []
    run = st.SpikingNet._run_folded

    def counted(self: st.SpikingNet, chunk: Any, *args: Any) -> Any:
        found.append(chunk.x.shape[1])
        return run(self, chunk, *args)

    monkeypatch.setattr(st.SpikingNet, "_run_folded", counted)
    return found


def is_spiking(out: Tensor) -> bool:
    return 0 < int(out.count_nonzero()) < out.numel()


def test_in_training_as_a_step(steps: list[int]) -> None:
    """The same masks of dropout, the same running statistics, states and gradients."""
    models, x = (model_of(), model_of(mode="step")), sequence()
    found = []
    for model in models:
        torch.manual_seed(2)
        inputs, out = x, x
        for t in range(3):
            inputs = x[:, t : t + 1].clone().requires_grad_()
            out = model(inputs, init=t == 0)
        found.append((out.detach(), gradients(out, model, inputs), model.get_state(), dict(model.named_buffers())))
    assert steps == [1, 1, 1]
    (out, grads, state, buffers), (wanted, slopes, end, statistics) = found
    assert is_spiking(wanted)
    assert torch.equal(out, wanted)
    assert_gradients(grads, slopes)
    torch.testing.assert_close(state, end)
    torch.testing.assert_close(buffers, statistics)


@pytest.mark.parametrize("grad", [False, True])
def test_a_stream_is_the_sequence_bit_for_bit(grad: bool, steps: list[int]) -> None:
    model, x = model_of().eval(), sequence()
    with torch.set_grad_enabled(grad):
        whole, end = model(x), model.get_state()
        parts = torch.cat([model(x[:, t : t + 1], init=t == 0) for t in range(6)], 1)
    assert steps == [6, *[1] * 6]
    assert is_spiking(whole)
    assert torch.equal(parts, whole)
    assert all(torch.equal(end[name], value) for name, value in model.get_state().items())


def test_lengths_records_and_monitors(steps: list[int]) -> None:
    models, x = (model_of().eval(), model_of(mode="step").eval()), sequence(T=1)
    counted = []
    for model in models:
        with st.SpikeMonitor(model, every=1) as monitor:
            model(x, lengths=[1] * 5)
            model(x)
        counted.append(monitor.metrics())
    assert counted[0] == pytest.approx(counted[1])
    assert 0 < counted[0]["first/rate"] < 1
    got, want = (st.record(model, x) for model in models)
    assert got.keys() == want.keys()
    for name in got:
        assert all(torch.equal(got[name][field], want[name][field]) for field in want[name])
    assert steps[:2] == [1, 1]


def test_another_batch_ends_a_stream() -> None:
    model, x = model_of().eval(), sequence()
    with torch.no_grad():
        model(x[:, :1])
        model(x[:, 1:2], init=False)
        with pytest.raises(ValueError, match="holds the state of inputs of shape"):
            model(x[:2, :1], init=False)
        model(x[:2, :1])
        with pytest.raises(ValueError, match="NaN or infinite"):
            model(torch.full_like(x[:2, :1], torch.nan), init=False)
