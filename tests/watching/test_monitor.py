"""SpikeMonitor beside counts by hand, and calls that fail, overlap, are compiled or transformed while it counts."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import spikingtorch as st
from spikingtorch import functional as F
from tests.every_layer import FILTERS, LAYERS, MAKERS
from tests.folded_layer import draw as draw_folded
from tests.folded_layer import over_time
from tests.processes import at_once
from tests.watching.networks import UP_TO, Breaks, by_hand, draw, shallow

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def net() -> Any:
    torch.manual_seed(0)
    return shallow()


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


WAYS: dict[str, Any] = {"fold": {}, "step": {"mode": "step"}}
WAYS |= {f"chunks of {chunk}": {"time_chunk": chunk} for chunk in (1, 4, 7, 20)}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("lengths", [None, [15, 3, 1, 9]], ids=str)
def test_counts(net: Any, way: str, lengths: Any) -> None:
    model, calls = st.SpikingNet(net, **WAYS[way]), [draw(seed) for seed in range(3)]
    with torch.no_grad():
        net.f.bias[0], net.f.bias[1] = 50.0, -50.0  # one that always fires, and one that never does
        seen = torch.cat([st.record(model, x, lengths=lengths)["l1"]["spikes"] for x in calls])
    want = by_hand([sample[None, :length] for sample, length in zip(seen, 3 * (lengths or [15] * 4), strict=True)])
    with st.SpikeMonitor(model, every=1) as monitor:
        for x in calls:
            model(x, lengths=lengths)
    found = monitor.metrics()
    assert found == {f"l1/{name}": pytest.approx(value) for name, value in want.items()}
    assert found["l1/silent"] >= 1 / 8
    assert found["l1/saturated"] >= 1 / 8
    monitor.reset()
    assert monitor.metrics() == {}
    model(calls[0])
    assert monitor.metrics() == {}


def test_intervals_reach_across_calls(net: Any) -> None:
    model, sequences = st.SpikingNet(net), [draw(0), draw(1)]
    want = by_hand([st.record(model, x)["l1"]["spikes"].detach() for x in sequences])
    with st.SpikeMonitor(model, every=1) as monitor:
        for x in sequences:
            for t, part in enumerate(x.split(2, 1)):
                model(part, init=t == 0)
    assert monitor.metrics() == {f"l1/{name}": pytest.approx(value) for name, value in want.items()}


def intervals_of(monitor: st.SpikeMonitor) -> list[float]:
    """Return mean and deviation of the intervals of a network's only layer that fires."""
    found = monitor.metrics()
    return [value for name, value in found.items() if "interval" in name]


def spikes_at(one: int, other: int) -> Tensor:
    """Return two samples of a neuron, of three steps, with a spike each."""
    x = torch.zeros(2, 3, 1)
    x[0, one] = x[1, other] = 1.0
    return x


def test_an_interval_ends_where_a_sample_starts_anew() -> None:
    model = st.SpikingNet(nn.Sequential(st.IF(v0=1.0)))
    with st.SpikeMonitor(model, every=1) as monitor:
        model(spikes_at(0, 0))
        model(spikes_at(1, 0), init=torch.tensor([True, False]))
        assert intervals_of(monitor) == [3.0, 0.0]
        model(spikes_at(1, 0), init=False)
        assert intervals_of(monitor) == [3.0, 0.0]
        model.reset()
        model(spikes_at(2, 2), init=False)
        assert intervals_of(monitor) == [3.0, 0.0]


@pytest.mark.parametrize("mode", ["fold", "step"])
def test_padding_is_no_part_of_an_interval(mode: Any) -> None:
    """The state of a sample stays where it ends, and its next step follows upon its last one."""
    model = st.SpikingNet(nn.Sequential(st.IF(v0=1.0)), mode=mode)
    with st.SpikeMonitor(model) as monitor:
        model(spikes_at(0, 0), lengths=[1, 3])
        model(spikes_at(0, 0), init=False)
    assert intervals_of(monitor) == [(1 + 3) / 2, pytest.approx(0.5)]


def test_intervals_of_a_long_sequence(net: Any) -> None:
    """They take longer, so that a sequence without an end is looked at now and then."""
    model = st.SpikingNet(net)

    def looks(call: int, init: bool) -> bool:
        before = intervals_of(monitor)
        model(draw(call), init=init)
        return intervals_of(monitor) != before

    with st.SpikeMonitor(model, every=3) as monitor:
        assert [call for call in range(14) if looks(call, call == 0)] == [0, 1, 2, 9, 10, 11]
        assert [call for call in range(14, 20) if looks(call, True)] == [16, 19]
        monitor.reset()
        assert all(looks(call, False) for call in (20, 21))


def test_a_checkpoint_counts_once(net: Any) -> None:
    model, x = st.SpikingNet(net), draw().requires_grad_()
    found = []
    runs: list[Any] = [model, lambda x: checkpoint(model, x, use_reentrant=False)]
    for run in runs:
        with st.SpikeMonitor(model) as monitor:
            run(x).sum().backward()
        found.append(monitor.metrics())
    assert found[0] == found[1]


@pytest.mark.parametrize("layer", [st.IF(surrogate=F.Graded(), v0=1.0), st.SigmaDelta(0.5)], ids=["graded", "sent"])
def test_spikes_of_any_size_and_sign_count_as_one(layer: st.StepLayer) -> None:
    """A sigma-delta neuron has no spike function that says so."""
    model, x = st.SpikingNet(nn.Sequential(layer)), 4 * draw() - 2
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


def test_refusals(net: Any) -> None:
    with pytest.raises(TypeError, match="expected a SpikingNet"):
        st.SpikeMonitor(net)
    model = st.SpikingNet(net)
    with pytest.raises(ValueError, match="at least 1"):
        st.SpikeMonitor(model, every=0)
    with st.SpikeMonitor(model), pytest.raises(RuntimeError, match="another monitor is open"):
        st.SpikeMonitor(model).__enter__()
    with st.SpikeMonitor(model):
        pass


@pytest.mark.parametrize("name", LAYERS)
def test_the_time_loop_counts_what_fires(name: str, loops: list[tuple[Tensor, Tensor]]) -> None:
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
    assert bool(found[0]) == (name not in FILTERS)
    total: Any = 0
    for output, fired in loops:
        total = total + (output != 0).unflatten(0, (fired.shape[0], -1)).sum(1, dtype=torch.int32)
        assert torch.equal(fired, total)
    # one that does not rest at zero is counted after its loop
    assert len(loops) == (0 if name in FILTERS | {"Izhikevich"} else 3)


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


# --- calls ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{"mode": "fold"}, {}, {"mode": "step"}, {"mode": "fold", "time_chunk": 4}], ids=str
)
def test_a_call_that_fails_late_counts_nothing(options: Any) -> None:
    """Its first layer has run, and so have its first chunks; the monitor is as without it."""
    found = []
    for fails in (False, True):
        scaled = nn.Sequential(st.LIF(v0=0.3, surrogate=F.Graded()), Breaks(1000, 1.0), st.LIF(v0=0.3))
        model = st.SpikingNet(scaled, fold_rules=UP_TO, **options)
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
        options: Any = {"mode": mode, "fold_rules": UP_TO, "warn_silent": False}
        model = st.SpikingNet(nn.Sequential(st.LIF(v0=0.3), Breaks(40, 1.0), st.LIF(v0=0.3)), **options)
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


def test_nothing_to_count(net: Any) -> None:
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
    """A call that runs at a reset counts afterwards."""
    model = st.SpikingNet(nn.Sequential(st.LIF()), mode="fold", warn_silent=False)
    fired = [float((model((1 + k) * draw(k)) != 0).double().mean()) for k in range(5)]
    counts_of = st.SpikeMonitor.counts_of

    def interrupted(self: st.SpikeMonitor, layer: Any) -> Any:
        found = counts_of(self, layer)
        at_once(getattr(self, what))
        return found

    with st.SpikeMonitor(model, every=1) as monitor:
        model(draw(0))
        monkeypatch.setattr(st.SpikeMonitor, "counts_of", interrupted)
        for k in range(1, 5):
            model((1 + k) * draw(k))
    counted = fired if what == "metrics" else fired[-1:]
    assert monitor.metrics()["0/rate"] == pytest.approx(sum(counted) / len(counted))


def test_calls_that_overlap() -> None:
    """Another thread runs a layer by itself while the network is on its way there."""

    class Meanwhile(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            at_once(lambda: layer(3 * draw(7)[:, 0], True))
            return x

    layer = st.LIF(v0=0.3)
    model = st.SpikingNet(nn.Sequential(Meanwhile(), layer), mode="fold", warn_silent=False)
    with st.SpikeMonitor(model, every=1) as monitor:
        for seed in range(3):
            model(2 * draw(seed))
    alone = st.SpikingNet(nn.Sequential(layer), warn_silent=False)
    want = by_hand([alone(x) for x in [*(2 * draw(seed) for seed in range(3)), *[3 * draw(7)[:, :1]] * 3]])
    assert {name[2:]: value for name, value in monitor.metrics().items()} == pytest.approx(want)


@pytest.mark.long
def test_a_compiled_network_runs_and_is_not_counted() -> None:
    model, x = st.SpikingNet(nn.Sequential(st.LIF()), mode="fold", warn_silent=False), 2 * draw()
    want = model(x)
    with st.SpikeMonitor(model) as monitor:
        compiled: Any = torch.compile(model, backend="aot_eager", fullgraph=True)
        assert torch.equal(compiled(x), want)
    assert monitor.metrics() == {}


@pytest.mark.parametrize("mode", ["fold", "step"])
def test_transforms(mode: Any) -> None:
    """Gradients for each sample are a ``vmap`` as well; a gradient alone is counted."""
    model, x = st.SpikingNet(nn.Sequential(nn.Linear(6, 3), st.LIF(v0=0.1)), mode=mode, warn_silent=False), draw()
    parameters = {name: each.detach() for name, each in model.named_parameters()}

    def loss(parameters: Any, x: Tensor) -> Tensor:
        return torch.func.functional_call(model, parameters, (x,)).sum()

    other = 2 * draw(1)
    fired = [float((model(each) != 0).double().mean()) for each in (x, other)]
    assert fired[0] != fired[1]
    calls: list[Any] = [
        lambda: torch.func.vmap(lambda x: model(x.unsqueeze(0)))(x),
        lambda: torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x.unsqueeze(1)),
    ]
    with st.SpikeMonitor(model, every=1) as monitor:
        for call in calls:
            with pytest.raises(RuntimeError, match="layer 1 runs inside torch"):
                call()
        assert monitor.metrics() == {}
        model(x)
        torch.func.grad(loss)(parameters, other)
        assert monitor.metrics()["1/rate"] == pytest.approx(sum(fired) / 2)
        model(x)
        assert monitor.metrics()["1/rate"] == pytest.approx((2 * fired[0] + fired[1]) / 3)


def test_a_layer_by_itself_is_counted() -> None:
    model = st.SpikingNet(nn.Sequential(st.IF(v0=1.0)))
    with st.SpikeMonitor(model) as monitor:
        for init in (True, False, False):
            model.net[0](torch.tensor([[0.5, 1.0]]), init)  # type: ignore[index]
        model(torch.tensor([[[1.0, 1.0]]]))
    assert monitor.metrics()["0/rate"] == pytest.approx(6 / 8)
