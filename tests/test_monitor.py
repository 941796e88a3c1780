"""SpikeMonitor beside counts by hand, and a network that computes the same while it is watched."""

import math
import threading
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.functional.dispatch import folded
from spikingtorch.watching import monitor as module
from tests.every_layer import FILTERS, LAYERS, MAKERS
from tests.folded_layer import draw as draw_folded
from tests.folded_layer import over_time

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


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor]]:
    """What time loops have given out, and what they have counted."""
    found: list[tuple[Tensor, Tensor]] = []
    counted = st.SpikeMonitor.counted

    def noted(self: st.SpikeMonitor, output: Tensor, fired: Tensor, added: bool) -> None:
        found.append((output, fired.clone()))
        counted(self, output, fired, added)

    monkeypatch.setattr(st.SpikeMonitor, "counted", noted)
    return found


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


class Reciprocal(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 1 / x


@pytest.mark.parametrize("inference", [False, True])
def test_a_call_that_fails_is_not_counted(inference: bool) -> None:
    model, x = st.SpikingNet(nn.Sequential(Reciprocal(), st.IF()), mode="fold"), torch.full((3, 5, 4), 0.5)
    bad = x.clone()
    bad[0, 3, 1] = 0.0
    with st.SpikeMonitor(model) as monitor:
        with torch.inference_mode(inference):
            model(x)
        with pytest.raises(ValueError, match="IF: x holds"):
            model(bad)
        model(x)
    assert monitor.metrics()["1/rate"] == 1.0
    assert monitor.metrics()["1/saturated"] == 1.0


torch.library.define("spikingtorch_monitor::up_to_one", "(Tensor x, int rows) -> Tensor")


@torch.library.impl("spikingtorch_monitor::up_to_one", "CPU")
def up_to_one(x: Tensor, rows: int) -> Tensor:
    """Raise where an input is above one, or there are many rows."""
    if (x > 1.0).any() or x.shape[0] > rows:
        raise RuntimeError("broken")
    return x.clone()


UP_TO_ONE: Any = {torch.ops.spikingtorch_monitor.up_to_one: "rows"}


class Breaks(nn.Module):
    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = rows

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.spikingtorch_monitor.up_to_one(x, self.rows)
        return out


@pytest.mark.parametrize(
    "options", [{"mode": "fold"}, {}, {"mode": "step"}, {"mode": "fold", "time_chunk": 4}], ids=str
)
def test_a_call_that_fails_late_counts_nothing(options: Any) -> None:
    """Its first layer has run, and so have its first chunks; the monitor is as without it."""
    found = []
    for fails in (False, True):
        scaled = nn.Sequential(st.LIF(v0=0.3, surrogate=F.Graded()), Breaks(1000), st.LIF(v0=0.3))
        model = st.SpikingNet(scaled, fold_rules=UP_TO_ONE, **options)
        with st.SpikeMonitor(model) as monitor:
            for seed in range(3):
                if fails:
                    bad = draw(seed + 10)
                    bad[1, 9, 2] = 9.0
                    with pytest.raises(RuntimeError, match="broken"):
                        model(bad)
                model(draw(seed) / 2)
        found.append(monitor.metrics())
    assert found[0] == found[1]
    assert found[0]["0/rate"] > 0


def test_a_fold_that_fails_is_counted_once() -> None:
    found = []
    for mode in ("auto", "step"):
        options: Any = {"mode": mode, "fold_rules": UP_TO_ONE, "warn_silent": False}
        model = st.SpikingNet(nn.Sequential(st.LIF(v0=0.3), Breaks(40), st.LIF(v0=0.3)), **options)
        with st.SpikeMonitor(model) as monitor:
            model(draw()[:2])
            if mode == "auto":
                assert model.explain().mode == "fold"
                with pytest.warns(RuntimeWarning, match="runs step by step"):
                    model(draw())
            else:
                model(draw())
        found.append(monitor.metrics())
    assert found[0] == pytest.approx(found[1])


def test_nothing_to_count(net: Net) -> None:
    """A batch without samples, and a layer without neurons, are as if they had not been."""
    mode: Any
    for mode in ("fold", "step"):
        model = st.SpikingNet(net, mode=mode)
        with st.SpikeMonitor(model) as monitor:
            model(draw()[:0])
            assert monitor.metrics() == {}
            model(draw())
            got = monitor.metrics()
            model(draw()[:0])
            assert monitor.metrics() == got
            monitor.reset()
            model(draw())
            assert monitor.metrics() == got
        model = st.SpikingNet(nn.Sequential(st.IF()), mode=mode)
        with st.SpikeMonitor(model) as monitor:
            model(torch.ones(2, 3, 0))
        assert monitor.metrics() == {}


@pytest.mark.parametrize("what", ["metrics", "reset"])
def test_another_thread_asks_while_a_loop_runs(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = st.SpikingNet(nn.Sequential(st.LIF()), mode="fold", warn_silent=False), 2 * draw()
    fired, run = float((model(x) != 0).double().mean()), folded.run
    with st.SpikeMonitor(model, every=1) as monitor:
        model(x)
        want = monitor.metrics()

        def interrupted(*args: Any) -> Any:
            thread = threading.Thread(target=getattr(monitor, what))
            thread.start()
            thread.join()
            return run(*args)

        monkeypatch.setattr(folded, "run", interrupted)
        for _ in range(4):
            model(x)
    assert monitor.metrics() == pytest.approx(want)
    assert monitor.metrics()["0/rate"] == pytest.approx(fired)
    assert monitor._counts["0"].steps == 4 * 15 * (5 if what == "metrics" else 1)


def test_calls_that_overlap() -> None:
    """Another thread runs a layer by itself while the network is on its way there."""

    class Meanwhile(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            thread = threading.Thread(target=layer, args=(3 * draw(7)[:, 0], True))
            thread.start()
            thread.join()
            return x

    layer = st.LIF(v0=0.3)
    model = st.SpikingNet(nn.Sequential(Meanwhile(), layer), mode="fold", warn_silent=False)
    with st.SpikeMonitor(model, every=1) as monitor:
        for seed in range(3):
            model(2 * draw(seed))
    alone = st.SpikingNet(nn.Sequential(layer), warn_silent=False)
    want = by_hand([alone(x) for x in [*(2 * draw(seed) for seed in range(3)), *[3 * draw(7)[:, :1]] * 3]])
    assert {name[2:]: value for name, value in monitor.metrics().items()} == pytest.approx(want)


def test_a_compiled_network_runs_and_is_not_counted() -> None:
    model, x = st.SpikingNet(nn.Sequential(st.LIF()), mode="fold", warn_silent=False), 2 * draw()
    want = model(x)
    with st.SpikeMonitor(model) as monitor:
        compiled: Any = torch.compile(model, backend="aot_eager", fullgraph=True)
        assert torch.equal(compiled(x), want)
    assert monitor.metrics() == {}


@pytest.mark.parametrize("mode", ["fold", "step"])
def test_not_inside_vmap(mode: Any) -> None:
    model = st.SpikingNet(nn.Sequential(st.LIF()), mode=mode, warn_silent=False)
    with st.SpikeMonitor(model) as monitor, pytest.raises(RuntimeError, match="layer 0 runs inside torch"):
        torch.func.vmap(lambda x: model(x.unsqueeze(0)))(draw())
    assert monitor.metrics() == {}


@pytest.mark.parametrize("mode", ["fold", "step"])
def test_gradients_for_each_sample(mode: Any) -> None:
    """They are a ``vmap`` as well; a gradient alone is counted."""
    model, x = st.SpikingNet(nn.Sequential(nn.Linear(6, 3), st.LIF(v0=0.1)), mode=mode, warn_silent=False), draw()
    parameters = {name: each.detach() for name, each in model.named_parameters()}

    def loss(parameters: Any, x: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(model, parameters, (x,)).sum()
        return out

    with st.SpikeMonitor(model, every=1) as monitor:
        with pytest.raises(RuntimeError, match="layer 1 runs inside torch"):
            torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x.unsqueeze(1))
        assert monitor.metrics() == {}
        model(x)
        want = monitor.metrics()
        torch.func.grad(loss)(parameters, x)
        assert monitor.metrics() == pytest.approx(want)
        assert monitor._counts["1"].steps == 2 * 4 * 15
        model(x)
        assert monitor.metrics() == pytest.approx(want)


def test_a_layer_by_itself_is_counted() -> None:
    model = st.SpikingNet(nn.Sequential(st.IF(v0=1.0)))
    with st.SpikeMonitor(model) as monitor:
        for init in (True, False, False):
            model.net[0](torch.tensor([[0.5, 1.0]]), init)  # type: ignore[index]
        model(torch.tensor([[[1.0, 1.0]]]))
    assert monitor.metrics()["0/rate"] == pytest.approx(6 / 8)
