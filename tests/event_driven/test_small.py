"""Networks whose layers are too small for skipping zeros: after a first call, nobody looks until they change."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.functional.sparse.automatic import Automatic
from tests.event_driven.networks import SMALL, model_of, reasons, spikes
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


def wide(N: int = 30, T: int = 50) -> Tensor:
    return (torch.rand(N, T, 256, generator=torch.Generator().manual_seed(0)) < 0.05).float()


def wide_net(outputs: int = 512) -> st.SpikingNet:
    return st.SpikingNet(nn.Sequential(nn.Linear(256, outputs), st.LIF()))


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
    for mode in ("step", "fold"):  # of which nothing is proven: what they compute may depend on numbers
        other = model_of("auto", mode=mode)
        assert all(looked(looks, other, x) for _ in range(3))


def test_a_large_batch_between_small_ones(looks: list[Any], runs: list[int]) -> None:
    model = wide_net()
    assert looked(looks, model, wide(2))
    for _ in range(2):
        model(wide())
        assert reasons(model) == {"0": None}
    assert len(runs) == 2
    assert not looked(looks, model, wide(2))
    assert reasons(model) == {"0": SMALL}
    model(torch.rand(30, 50, 256))  # dense, and the next one may be sparse
    model(wide())
    assert len(runs) == 3
    chunked = st.SpikingNet(model.net, time_chunk=49)
    for _ in range(3):
        chunked(wide())
    assert len(runs) == 6
    assert reasons(chunked) == {"0": SMALL}  # of the last step


def test_what_has_changed_is_looked_at_again(looks: list[Any], runs: list[int]) -> None:
    model, x = model_of("auto"), spikes()
    model(x)
    model.load_state_dict(copy.deepcopy(model.state_dict()), assign=True)
    assert looked(looks, model, x)
    assert set(reasons(model)) == {"conv1", "conv2", "out", "kernel"}
    model.get_parameter("net.conv1.weight").requires_grad_(False)
    assert looked(looks, model, x)
    assert not runs
    model.event_driven = "on"
    model(x)
    assert len(runs) == 4
    model.event_driven = "auto"
    model(x)
    assert set(reasons(model).values()) == {SMALL}
    other: Any = wide_net(2)
    for _ in range(2):
        other(wide())
    other.net[0] = nn.Linear(256, 512)
    other(wide())
    assert len(runs) == 5


def test_what_passes_is_not_remembered(runs: list[int]) -> None:
    model = wide_net()
    torch.use_deterministic_algorithms(True)
    try:
        for _ in range(2):
            model(wide())
    finally:
        torch.use_deterministic_algorithms(False)
    assert not runs
    model(wide())
    assert len(runs) == 1
