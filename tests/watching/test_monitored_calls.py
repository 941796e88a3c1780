"""Calls that fail, overlap, are compiled or transformed while a SpikeMonitor counts."""

import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.functional.dispatch import folded
from tests.watching.networks import UP_TO, Breaks, Net, by_hand, draw

pytestmark = pytest.mark.usefixtures("one_thread")


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


@pytest.mark.long
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
