"""Networks whose layers are too small for skipping zeros: after a first call, nobody looks at them."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.functional.sparse.automatic import Automatic
from spikingtorch.layers import steplayer
from spikingtorch.layers.frame import init_and_running
from tests.event_driven.networks import SMALL, model_of, outcome, reasons, spikes
from tests.noted import calls_of

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The functions that the mode was asked about."""
    return calls_of(monkeypatch, Automatic, "__torch_function__", lambda result, mode, function, *others: function)


def looked(looks: list[Any], model: st.SpikingNet, x: Tensor) -> bool:
    """Run a model, and say whether its layers were looked at."""
    looks.clear()
    model(x)
    return bool(looks)


def wide(N: int, T: int = 50) -> Tensor:
    return (torch.rand(N, T, 256, generator=torch.Generator().manual_seed(0)) < 0.05).float()


def test_a_second_call(looks: list[Any]) -> None:
    model, x = model_of("auto"), spikes()
    assert looked(looks, model, x)
    said = model.explain().products
    assert {line.reason for line in said} == {SMALL}
    assert not looked(looks, model, x)
    assert model.explain().products == said
    assert not looked(looks, model, spikes(1.0))  # numbers make no difference
    assert looked(looks, model, spikes(T=3))
    with torch.no_grad():
        assert looked(looks, model, x)
        assert not looked(looks, model, x)


def test_the_same_numbers() -> None:
    models = model_of("auto"), model_of("off")
    for _ in range(2):
        assert all(torch.equal(a, b) for a, b in zip(*(outcome(each, spikes()) for each in models), strict=True))


def test_a_large_batch_between_small_ones(looks: list[Any], runs: list[int]) -> None:
    model = st.SpikingNet(nn.Sequential(nn.Linear(256, 512), st.LIF()))
    assert looked(looks, model, wide(2))
    for _ in range(2):
        assert looked(looks, model, wide(30))
        assert reasons(model) == {"0": None}
    assert len(runs) == 2
    assert not looked(looks, model, wide(2))
    assert reasons(model) == {"0": SMALL}
    assert looked(looks, model, torch.rand(30, 50, 256))  # dense, and the next one may be sparse
    assert looked(looks, model, wide(30))
    assert len(runs) == 3


def test_chunks_of_several_sizes(looks: list[Any], runs: list[int]) -> None:
    model = st.SpikingNet(nn.Sequential(nn.Linear(256, 512), st.LIF()), time_chunk=49)
    for _ in range(3):
        model(wide(30))
    assert len(runs) == 3
    assert reasons(model) == {"0": SMALL}  # of the last step
    assert looks


def test_other_weights_of_the_same_form(looks: list[Any]) -> None:
    model, x = model_of("auto"), spikes()
    model(x)
    model.load_state_dict(copy.deepcopy(model.state_dict()), assign=True)
    assert looked(looks, model, x)
    assert set(reasons(model)) == {"conv1", "conv2", "out", "kernel"}
    assert not looked(looks, model, x)
    model.get_parameter("net.conv1.weight").requires_grad_(False)
    assert looked(looks, model, x)


def test_what_passes_is_not_remembered(looks: list[Any], runs: list[int]) -> None:
    model = st.SpikingNet(nn.Sequential(nn.Linear(256, 512), st.LIF()))
    torch.use_deterministic_algorithms(True)
    try:
        for _ in range(2):
            assert looked(looks, model, wide(30))
    finally:
        torch.use_deterministic_algorithms(False)
    assert not runs
    model(wide(30))
    assert len(runs) == 1


@pytest.mark.parametrize("options", [{"mode": "step"}, {"mode": "fold"}], ids=str)
def test_networks_of_which_nothing_is_proven(options: dict[str, Any], looks: list[Any]) -> None:
    """What they compute may depend on the numbers of their inputs."""
    model = model_of("auto", **options)
    assert all(looked(looks, model, spikes()) for _ in range(3))


def test_options_change(looks: list[Any], runs: list[int]) -> None:
    model = model_of("auto")
    for _ in range(2):
        model(spikes())
    model.event_driven = "on"
    assert looked(looks, model, spikes())
    assert len(runs) == 4
    model.event_driven = "auto"
    assert not looked(looks, model, spikes())
    assert set(reasons(model).values()) == {SMALL}


def test_other_layers(looks: list[Any], runs: list[int]) -> None:
    net = nn.Sequential(nn.Linear(256, 2), st.LIF())
    model = st.SpikingNet(net)
    for _ in range(2):
        model(wide(30))
    net[0] = nn.Linear(256, 512)
    assert looked(looks, model, wide(30))
    assert len(runs) == 1


def test_a_call_that_failed(looks: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that run in the place of a fold that failed look again."""

    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.l1, self.s1 = nn.Linear(4, 3), st.LIF()

        def forward(self, x: Tensor, init: bool) -> Tensor:
            out: Tensor = self.s1(self.l1(x), init)
            return out

    model, x = st.SpikingNet(Failing()), torch.rand(2, 3, 4)
    model(x)
    assert not looked(looks, model, x)

    def fail(*_: Any) -> Any:
        monkeypatch.setattr(steplayer, "init_and_running", init_and_running)
        raise RuntimeError("once")

    monkeypatch.setattr(steplayer, "init_and_running", fail)
    with pytest.warns(RuntimeWarning, match="failed with all steps at once"):
        assert looked(looks, model, x)
