"""SpikeMonitor beside counts by hand, and a network that computes the same while it is watched."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.watching import monitor
from tests.every_layer import FILTERS, LAYERS, MAKERS, call

pytestmark = pytest.mark.usefixtures("one_thread")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f, self.l1, self.li = nn.Linear(6, 8), st.LIF(tau=3.0, learnable=True), st.LI()

    def forward(self, x: Tensor, init: Any) -> Tensor:
        out: Tensor = self.li(self.l1(3 * self.f(x), init), init)
        return out


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


def draw(seed: int = 0) -> Tensor:
    return torch.rand(4, 15, 6, generator=torch.Generator().manual_seed(seed))


def by_hand(spikes: list[Tensor]) -> dict[str, float]:
    """Count spikes (N, T, M) of some calls in loops."""
    M, steps, intervals = spikes[0].shape[2], 0, []
    counts = [0] * M
    for part in spikes:
        for sample in part:
            steps += sample.shape[0]
            for neuron in range(M):
                times = [t for t in range(sample.shape[0]) if sample[t, neuron]]
                counts[neuron] += len(times)
                intervals += [after - before for before, after in pairwise(times)]
    mean = sum(intervals) / len(intervals)
    deviation = math.sqrt(sum((each - mean) ** 2 for each in intervals) / len(intervals))
    return {
        "rate": sum(counts) / (steps * M),
        "silent": sum(count == 0 for count in counts) / M,
        "saturated": sum(count == steps for count in counts) / M,
        "interval": mean,
        "interval_cv": deviation / mean,
    }


@pytest.mark.parametrize("options", [{}, {"mode": "step"}, {"time_chunk": 20}], ids=str)
def test_counts(net: Net, options: Any) -> None:
    model = st.SpikingNet(net, **options)
    calls = [draw(seed) for seed in range(3)]
    with torch.no_grad():
        net.f.bias[0], net.f.bias[1] = 50.0, -50.0  # one that always fires, and one that never does
        want = by_hand([st.record(model, x)["l1"]["spikes"] for x in calls])
    with st.SpikeMonitor(model, every=1) as monitor:
        for x in calls:
            model(x)
    found = monitor.metrics()
    if options.get("mode") == "step":
        want = {name: value for name, value in want.items() if "interval" not in name}
    assert found == {f"l1/{name}": pytest.approx(value) for name, value in want.items()}
    assert found["l1/silent"] >= 1 / 8
    assert found["l1/saturated"] >= 1 / 8
    monitor.reset()
    assert monitor.metrics() == {}
    model(calls[0])
    assert monitor.metrics() == {}


def test_nothing_changes(net: Net) -> None:
    model, x = st.SpikingNet(net), draw()

    def trained() -> list[Tensor]:
        out = model(x)
        return [out, *torch.autograd.grad(out.sum(), list(model.parameters()))]

    want = trained()
    with st.SpikeMonitor(model):
        got = trained()
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
    assert model.explain().mode == "fold"


def test_lengths(net: Net) -> None:
    model, x, lengths = st.SpikingNet(net), draw(), torch.tensor([15, 3, 1, 9])
    with torch.no_grad():
        net.f.bias[0] = 50.0
    spikes = st.record(model, x, lengths=lengths)["l1"]["spikes"].detach()
    with st.SpikeMonitor(model) as monitor:
        model(x, lengths=lengths)
    found = monitor.metrics()
    assert found["l1/rate"] == pytest.approx(float(spikes.sum()) / (8 * int(lengths.sum())))
    assert found["l1/saturated"] == pytest.approx(1 / 8)


def test_a_checkpoint_counts_once(net: Net) -> None:
    model, x = st.SpikingNet(net), draw().requires_grad_()
    found = []
    runs: list[Any] = [model, lambda x: checkpoint(model, x, use_reentrant=False)]
    for run in runs:
        with st.SpikeMonitor(model) as monitor:
            run(x).sum().backward()
        found.append(monitor.metrics())
    assert found[0] == found[1]


def test_graded_spikes_count_as_one() -> None:
    model = st.SpikingNet(nn.Sequential(st.IF(surrogate=F.Graded(), v0=1.0)))
    with st.SpikeMonitor(model) as monitor:
        model(torch.full((1, 4, 1), 1.5))
    assert monitor.metrics()["0/rate"] == 1.0


def test_what_is_sent_counts_as_a_spike() -> None:
    """The outputs of a sigma-delta neuron are of any size and sign, without a spike function that says so."""
    model, x = st.SpikingNet(nn.Sequential(st.SigmaDelta(0.5))), 2 * draw() - 1
    sent = st.record(model, x)["0"]["spikes"]
    with st.SpikeMonitor(model) as monitor:
        model(x)
    assert sent.unique().numel() > 3
    assert monitor.metrics()["0/rate"] == pytest.approx(float((sent != 0).double().mean()))


def test_images_of_another_size() -> None:
    model = st.SpikingNet(nn.Sequential(st.IF()))
    with st.SpikeMonitor(model) as monitor:
        model(torch.ones(2, 3, 4))
        with pytest.raises(ValueError, match=r"layer 0 has 5 neurons now, and had 4; call reset\(\)"):
            model(torch.ones(2, 3, 5))
        monitor.reset()
        model(torch.ones(2, 3, 5))


def test_refusals(net: Net) -> None:
    with pytest.raises(TypeError, match="expected a SpikingNet"):
        st.SpikeMonitor(net)  # type: ignore[arg-type]
    model = st.SpikingNet(net)
    with pytest.raises(ValueError, match="at least 1"):
        st.SpikeMonitor(model, every=0)
    with st.SpikeMonitor(model), pytest.raises(RuntimeError, match="another monitor is open"):
        st.SpikeMonitor(model).__enter__()
    assert net.l1._monitor is None


def test_layers_that_are_counted_as_they_are_give_out_zeros_and_ones() -> None:
    """Their outputs are added up without a look at what is not zero; every other layer is looked at."""
    binary = {name for name, layer in LAYERS.items() if monitor._is_binary(layer)}
    assert LAYERS.keys() - binary == FILTERS | {"GradedLIF", "SigmaDelta", "StochasticLIF"}
    assert len({MAKERS[name]().step for name in binary}) == len(monitor._FIRING_STEPS)
    for name in binary:
        layer = MAKERS[name]()
        outs = torch.stack([call(layer, 3.0 * torch.randn(5, 7), init=(t == 0)) for t in range(20)])
        assert set(outs.unique().tolist()) == {0.0, 1.0}
    assert not monitor._is_binary(st.LIF(surrogate=F.Ternary()))
