"""The check of the neurons beside LIF in the benchmarks: what it passes, and what it has to find."""

import numpy as np
import pytest

from benchmarks import beside, check
from benchmarks.suite import OURS, Case, Size
from benchmarks.suites import SUITES

SMALL = Size(T=60, B=2, N=17)
ALIKE = [(model, name) for model, neuron in beside.NEURONS.items() for name, peer in neuron.peers.items() if peer.alike]


@pytest.fixture(autouse=True)
def few_neurons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "SIZE", SMALL)


@pytest.mark.parametrize(
    ("contestant", "model"),
    [(OURS, "alif"), (OURS, "stochastic_lif"), (OURS, "exponential_synapse"), (f"{beside.AS}norse", "adex")],
)
def test_ours_pass(contestant: str, model: str) -> None:
    check.check(contestant, model, "fused")


@pytest.mark.parametrize(("model", "peer"), ALIKE)
def test_the_layer_that_equals_a_peer_is_there(model: str, peer: str) -> None:
    case = Case(beside.AS + peer, model, SMALL)
    assert case.is_ours
    assert case.contestant in beside.contestants(model)
    out, gradients = beside.own_subject(case, "loop").observe(None)
    assert out.any()
    assert np.isfinite(out).all()
    learns = case.model == "euler_lif" and peer == "spikingjelly"  # the time constant
    assert [each.shape for each in gradients] == [tuple(SMALL), *[()] * learns]


def test_a_silent_neuron_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = beside.NEURONS["alif"]._replace(drive=(0.0, 1e-3))
    monkeypatch.setitem(beside.NEURONS, "alif", silent)
    with pytest.raises(ValueError, match=r"spikes in 0\.0% of the steps"):
        check.check(OURS, "alif", "fused")


def test_another_equation_is_found() -> None:
    one, other = (
        beside.own_subject(Case(beside.AS + peer, "cuba_lif", SMALL), "loop") for peer in ("snntorch", "spikingjelly")
    )
    check.agree(one, one, check.GRADIENT, exact=True)
    with pytest.raises(ValueError, match=r"other outputs in"):
        check.agree(one, other, check.GRADIENT, exact=False)


def test_every_peer_has_a_bar() -> None:
    bars = SUITES["neurons-beside"].bars
    found = {(model, row) for bar in bars for model in bar.where["model"] for row in bar.over}
    assert found == {(model, peer) for model, neuron in beside.NEURONS.items() for peer in neuron.peers}
