"""SpikeMonitor beside counts by hand, and a network that computes the same while it is watched."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.watching import monitor as module
from tests.every_layer import FILTERS, LAYERS, MAKERS
from tests.folded_layer import draw as draw_folded
from tests.folded_layer import over_time
from tests.watching.networks import Net, by_hand, draw

pytestmark = pytest.mark.usefixtures("one_thread")


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
    assert found == {f"l1/{name}": pytest.approx(value) for name, value in want.items()}
    assert found["l1/silent"] >= 1 / 8
    assert found["l1/saturated"] >= 1 / 8
    monitor.reset()
    assert monitor.metrics() == {}
    model(calls[0])
    assert monitor.metrics() == {}


@pytest.mark.parametrize("options", [{}, {"mode": "step"}, {"time_chunk": 4}], ids=str)
def test_lengths(net: Net, options: Any) -> None:
    model, x, lengths = st.SpikingNet(net, **options), draw(), torch.tensor([15, 3, 1, 9])
    with torch.no_grad():
        net.f.bias[0] = 50.0
    spikes = st.record(model, x, lengths=lengths)["l1"]["spikes"].detach()
    with st.SpikeMonitor(model) as monitor:
        model(x, lengths=lengths)
    found = monitor.metrics()
    assert found["l1/rate"] == pytest.approx(float(spikes.sum()) / (8 * int(lengths.sum())))
    assert found["l1/saturated"] == pytest.approx(1 / 8)


def intervals_of(monitor: st.SpikeMonitor) -> list[float]:
    return [value for name, value in monitor.metrics().items() if "interval" in name]


@pytest.mark.parametrize(
    "options", [{"time_chunk": 1}, {"time_chunk": 4}, {"time_chunk": 7}, {"mode": "step"}], ids=str
)
@pytest.mark.parametrize("lengths", [None, [15, 3, 1, 9]], ids=str)
def test_intervals_reach_across_chunks(net: Net, options: Any, lengths: Any) -> None:
    found = []
    for model in (st.SpikingNet(net), st.SpikingNet(net, **options)):
        with st.SpikeMonitor(model, every=3) as monitor:  # two of the sequences
            for seed in range(4):
                model(draw(seed), lengths=lengths)
        found.append(intervals_of(monitor))
    assert found[0] == pytest.approx(found[1])
    assert len(found[0]) == 2


def test_intervals_reach_across_calls(net: Net) -> None:
    model, sequences = st.SpikingNet(net), [draw(0), draw(1)]
    want = by_hand([st.record(model, x)["l1"]["spikes"].detach() for x in sequences])
    with st.SpikeMonitor(model, every=1) as monitor:
        for x in sequences:
            for t, part in enumerate(x.split(2, 1)):
                model(part, init=t == 0)
    assert monitor.metrics() == {f"l1/{name}": pytest.approx(value) for name, value in want.items()}


def test_an_interval_ends_where_a_sample_starts_anew() -> None:
    model, x = st.SpikingNet(nn.Sequential(st.IF(v0=1.0))), torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])[..., None]
    with st.SpikeMonitor(model, every=1) as monitor:
        model(x)
        model(x, init=torch.tensor([True, False]))
        assert monitor.metrics()["0/interval"] == 3.0
        model(x, init=False)
        assert monitor.metrics()["0/interval"] == 3.0
        model.reset()
        model(x, init=False)
        assert monitor._counts["0"].intervals is not None
        assert monitor._counts["0"].intervals.tolist() == [3, 9, 27]


@pytest.mark.parametrize("mode", ["fold", "step"])
def test_padding_is_no_part_of_an_interval(mode: Any) -> None:
    """The state of a sample stays where it ends, and its next step follows upon its last one."""
    x = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])[..., None]
    model = st.SpikingNet(nn.Sequential(st.IF(v0=1.0)), mode=mode)
    with st.SpikeMonitor(model) as monitor:
        model(x, lengths=[1, 3])
        model(x, init=False)
    assert monitor._counts["0"].intervals is not None
    assert monitor._counts["0"].intervals.tolist() == [2, 1 + 3, 1 + 9]


def test_intervals_of_a_long_sequence(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longer, so that a sequence without an end is looked at now and then."""
    looked: list[int] = []
    model, intervals, call = st.SpikingNet(net), module._intervals, 0

    def look(*args: Any) -> Any:
        looked.append(call)
        return intervals(*args)

    monkeypatch.setattr(module, "_intervals", look)
    with st.SpikeMonitor(model, every=3) as monitor:
        for call in range(14):
            model(draw(), init=call == 0)
        assert looked == [0, 1, 2, 9, 10, 11]
        for call in range(14, 20):  # noqa: B007 - noted above
            model(draw())
        assert looked[6:] == [16, 19]
        monitor.reset()
        for call in (20, 21):  # noqa: B007
            model(draw(), init=False)
        assert looked[8:] == [20, 21]


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


@pytest.mark.parametrize("name", sorted(LAYERS.keys() - FILTERS))
def test_the_time_loop_counts(name: str, loops: list[tuple[Tensor, Tensor]]) -> None:
    found = []
    for mode in ("fold", "step"):
        model = over_time(MAKERS[name](), mode=mode)
        model.train(False)
        with st.SpikeMonitor(model) as monitor:
            for seed in range(3):
                torch.manual_seed(seed)
                model(3 * draw_folded(seed))
        found.append(monitor.metrics())
    assert found[0] == pytest.approx(found[1])
    total: Any = 0
    for output, fired in loops:
        total = total + (output != 0).unflatten(0, (fired.shape[0], -1)).sum(1, dtype=torch.int32)
        assert torch.equal(fired, total)
    # one that does not rest at zero is counted after its loop
    assert len(loops) == (0 if name == "Izhikevich" else 3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_what_rounds_to_zero_is_no_spike(dtype: torch.dtype, loops: list[tuple[Tensor, Tensor]]) -> None:
    """Of graded spikes, one is too small for half precision, one is negative, and one is a negative zero."""
    layer: Any = st.StepLayer(lambda s, x: (s, -1e-9 * x), F.IFState)
    layer.surrogate = None  # so that it is watched
    model = st.SpikingNet(nn.Sequential(layer), mode="fold")
    x = torch.tensor([1.0, -1.0, 0.0]).repeat(40, 50, 3000).to(dtype)
    with st.SpikeMonitor(model) as monitor:
        model(x)
    ((output, fired),) = loops
    assert torch.equal(fired, (output != 0).unflatten(0, (40, 50)).sum(1, dtype=torch.int32))
    assert monitor.metrics()["0/rate"] == pytest.approx(0.0 if dtype == torch.float16 else 2 / 3)
