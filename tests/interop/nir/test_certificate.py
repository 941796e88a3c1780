"""Certificates say equal where both sides spike alike, and else where they differ first and why."""

import warnings
from collections import OrderedDict
from typing import Any

import nir
import numpy as np
import pytest
import torch
from torch import nn

import spikingtorch as st
from spikingtorch.interop.nir import NIRError, export, to_neurons, to_nir, verify_nir
from spikingtorch.interop.nir.certificate import certified
from spikingtorch.interop.nir.reference import simulate
from tests.interop.nir.graphs import affine, chain, lif
from tests.interop.nir.networks import made

DT = 1e-4


def changed(graph: nir.NIRGraph, **changes: Any) -> nir.NIRGraph:
    """Return a graph with other numbers in its first neurons."""
    node = graph.nodes["1"]
    for name, value in changes.items():
        setattr(node, name, value)
    return graph


def test_the_first_difference_is_named_with_its_distance_from_the_threshold() -> None:
    model, x = made("lif", torch.float64)
    graph = changed(to_nir(model, x), v_threshold=np.full(8, 1.3))
    found = certified(model, graph, x, {"1": "1", "3": "3"}, DT, "exponential")
    row: Any = found.first
    assert not found.equal
    assert not found.within_rounding
    assert row.name == "1"
    first = row.first
    spikes = st.record(model, x)["1"]["spikes"]
    u = st.record(model, x, "u")["1"]["u"]
    # up to the first difference both have the same membranes, here between the two thresholds
    at = u[first.sample, first.step][first.neuron].item()
    assert 1.0 <= at <= 1.3
    assert first.miss == pytest.approx(1.3 - at, rel=1e-9)
    assert first.fires
    assert spikes[first.sample, first.step][first.neuron] == 1.0
    assert f"spikes differ first at 1, neuron {first.neuron}, sample {first.sample}, step {first.step}" in str(found)


@pytest.mark.parametrize(
    "changes",
    [
        {"v_reset": np.full(8, 0.2)},
        {"tau": np.full(8, 7e-4)},
        {"r": np.full(8, 9.0)},
        {"v_leak": np.full(8, 0.3)},
        {"v_threshold": np.full(8, 1.3)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_number_of_a_node_is_honoured(changes: dict[str, Any]) -> None:
    """A graph with one other number is not certified; the network that is made of it is."""
    model, x = made("lif", torch.float64)
    graph = changed(to_nir(model, x), **changes)
    assert not certified(model, graph, x, {"1": "1", "3": "3"}, DT, "exponential").equal
    assert verify_nir(graph, x, use_metadata=False).equal


def test_a_membrane_at_its_threshold_is_a_matter_of_rounding() -> None:
    """Twelve twelfths are one; summed up in float32 they are less, and it takes a thirteenth."""
    model, x = st.SpikingNet(nn.Sequential(st.IF())), torch.full((1, 14, 1), 1.0 / 12.0)
    with pytest.warns(UserWarning, match=r"a membrane lies so near to its threshold that rounding decides"):
        graph = to_nir(model, x)
    found = certified(model, graph, x, {"0": "0"}, DT, "exponential")
    assert found.within_rounding
    assert not found.equal
    assert "rounding decides" in str(found)


def test_an_export_that_spikes_otherwise_is_never_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this library wrote a wrong number, its own certificate would refuse the graph."""
    model, x = made("lif", torch.float64)
    right = to_neurons.neuron_of

    def wrong(layer: Any, writing: Any) -> Any:
        node = right(layer, writing)
        node.r = 1.5 * node.r
        return node

    monkeypatch.setattr(export, "neuron_of", wrong)
    with pytest.raises(
        NIRError, match=r"the graph and the network have different outputs(.|\n)*spikes differ first at [13]"
    ):
        to_nir(model, x)
    assert to_nir(model, x, certify=False) is not None


def test_readouts_are_compared_by_value() -> None:
    model, x = made("readout", torch.float64)
    graph: Any = to_nir(model, x)
    node = graph.nodes["3"]
    node.r = node.r * 1.001
    found = certified(model, graph, x, {"1": "1", "3": "3"}, DT, "exponential")
    assert not found.equal
    assert not found.within_rounding
    errors = {row.name: row.error for row in found.rows}
    # a thousandth, in units of what rounding may do to a double
    assert errors["3"] == pytest.approx(1e-3 / (272 * 2.0**-52), rel=0.2)
    assert "outputs differ by more than rounding" in str(found)


def test_the_distance_to_the_continuous_solution_shrinks_with_the_step() -> None:
    graph = chain(lif(), shape=(3,))
    distances: list[Any] = []
    for parts in (1, 4, 16):
        x = torch.linspace(0.8, 2.0, 3, dtype=torch.float64).expand(1, 50 * parts, 3)
        row, _ = verify_nir(graph, x, dt=1e-3 / parts).rows
        distances.append(row.continuous)
    assert distances[0] > distances[1] > distances[2] > 0.0
    assert distances[2] < 0.1


def test_dt_is_asked_for_where_nothing_tells_it() -> None:
    with pytest.raises(NIRError, match=r"verify_nir: the graph does not say how long a step is; pass dt=1e-4"):
        verify_nir(chain(lif()), torch.rand(1, 5, 3))


def test_the_table_is_pleasant_to_read() -> None:
    model, x = made("readout", torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        text = str(verify_nir(to_nir(model, x), x)).splitlines()
    assert text[0].split() == ["node", "kind", "neurons", "spikes", "different", "error", "continuous"]
    ran = "3 samples of 60 steps of 0.0001 s, exponential, network in float32, sample taken as (N, T, ...)"
    assert text[-1] == f"spikes equal by NIR's equations, each solved exactly in turn ({ran})"
    assert len({len(line) for line in (text[1], text[-2])}) == 1


def test_the_reference_of_the_format_on_one_neuron() -> None:
    """The LIF of the NIR paper: exactly solved between spikes, its times follow from a logarithm.

    J. E. Pedersen et al., Nat. Commun. 15 (2024), doi:10.1038/s41467-024-52259-9, compare simulators of a LIF with its
    exact solution under a constant input. From zero, v reaches the threshold after tau ln(x / (x - threshold));
    simulators look once a step.
    """
    tau, threshold, x, dt, steps = 1e-2, 1.0, 1.4, 1e-4, 520
    period = tau * np.log(x / (x - threshold))
    node = lif(1, tau=tau, v_threshold=np.array([threshold]))
    sample = torch.full((1, steps, 1), x, dtype=torch.float64)
    found = verify_nir(chain(node, shape=(1,), out=1), sample, dt=dt)
    assert found.equal
    # a spike is seen at the end of its step, and the membrane starts anew there
    assert found.rows[0].spikes == steps // int(np.ceil(period / dt))
    euler = verify_nir(chain(node, shape=(1,), out=1), sample, dt=dt, discretisation="euler")
    assert euler.equal
    # Euler's membrane rises faster: 1 - dt / tau is less than exp(-dt / tau)
    assert euler.rows[0].spikes == steps // int(np.ceil(np.log(1 - threshold / x) / np.log1p(-dt / tau)))
    fine: Any = simulate(chain(node, shape=(1,), out=1), sample.numpy().swapaxes(0, 1), dt=dt, refine=64)
    assert abs(fine.out["output"].sum() - steps * dt / period) <= 1.0


def test_what_comes_behind_the_last_neuron_is_compared_too() -> None:
    torch.manual_seed(0)
    parts = OrderedDict[str, nn.Module](first=nn.Linear(5, 8), neurons=st.LIF(tau=3.0), out=nn.Linear(8, 4))
    model, x = st.SpikingNet(nn.Sequential(parts)).eval(), torch.rand(2, 30, 5)
    graph: Any = to_nir(model, x)
    assert [row.name for row in verify_nir(graph, x).rows] == ["neurons", "output"]
    graph.nodes["out"].weight = graph.nodes["out"].weight * 1.01
    found = certified(model, graph, x, {"neurons": "neurons"}, DT, "exponential")
    assert not found.equal
    assert not found.within_rounding
    out: Any = model.net.get_submodule("out")
    hook = out.register_forward_hook(lambda _module, _x, out: 2 * out)
    with pytest.raises(NIRError, match=r"module 'net.out' has a forward hook, which a graph cannot hold"):
        to_nir(model, x)
    hook.remove()


def test_one_tie_excuses_no_other_neuron() -> None:
    """Neuron 0 has a tie, and neuron 1 a resistance that is wrong; then neuron 0 is driven a million times as hard."""
    model = st.SpikingNet(nn.Sequential(st.IF()))
    for drive in (1.0 / 12.0, -1e5):
        x = torch.tensor([drive, 0.3]).expand(1, 40, 2).contiguous()
        graph: Any = to_nir(model, x, certify=False)
        graph.nodes["0"].r = graph.nodes["0"].r * np.array([1.0, 0.8])
        found = certified(model, graph, x, {"0": "0"}, DT, "exponential")
        assert not found.equal
        assert not found.within_rounding
        row: Any = found.first
        assert row.first.neuron == (1,)


# tau, steps, the largest of each input, and by what each resistance is too large
READOUTS = [
    pytest.param(3.0, 50, [1e6, 1.0], [1.0, 1.01], id="beside one with large values"),
    pytest.param(5.0, 5000, [1.0], [1.002], id="slow and long", marks=pytest.mark.long),
]


@pytest.mark.parametrize(("tau", "steps", "largest", "factors"), READOUTS)
def test_a_wrong_readout_is_no_rounding(tau: float, steps: int, largest: list[float], factors: list[float]) -> None:
    model = st.SpikingNet(nn.Sequential(st.LI(tau=tau)))
    x = torch.rand(1, steps, len(largest)) * torch.tensor(largest)
    graph: Any = to_nir(model, x)
    graph.nodes["0"].r = graph.nodes["0"].r * np.array(factors)
    assert not certified(model, graph, x, {"0": "0"}, DT, "exponential").equal


@pytest.mark.parametrize("x", [np.zeros((1, 2, 3)), torch.zeros(3), torch.zeros(1, 0, 3), torch.zeros(1, 2, 3).half()])
def test_a_sample_that_says_nothing(x: Any) -> None:
    with pytest.raises(NIRError, match=r"verify_nir: (the )?sample is"):
        verify_nir(chain(lif()), x, dt=DT)


@pytest.mark.parametrize("way", ["euler", "exponential"])
def test_without_metadata_both_sides_take_the_same_discretisation(way: Any) -> None:
    model, x = made("cuba lif", torch.float64)
    graph = to_nir(model, x, discretisation=way)
    assert verify_nir(graph, x, use_metadata=False).equal
    graph.metadata["spikingtorch"] = "{"
    assert verify_nir(graph, x, use_metadata=False, dt=DT, discretisation=way).equal


def test_graphs_without_neurons() -> None:
    found = verify_nir(chain(affine(3, 3)), torch.rand(2, 5, 3), dt=DT)
    assert found.equal
    assert [row.name for row in found.rows] == ["output"]
    assert to_nir(st.SpikingNet(nn.Sequential(nn.Linear(3, 2), st.LI())), torch.rand(2, 5, 3)) is not None
