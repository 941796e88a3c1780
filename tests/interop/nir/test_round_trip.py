"""Ours to NIR to ours: the same bits, through a file, for every layer and network that NIR can say."""

import json
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch

import spikingtorch as st
from spikingtorch.cli.nir import main
from spikingtorch.interop.nir import NIRError, from_nir, load_nir_weights, to_nir, verify_nir
from tests.interop.nir.networks import NETWORKS, made

DT = 1e-4
pytestmark = pytest.mark.filterwarnings("error")


def by_file(graph: Any, folder: Path) -> Path:
    path = folder / "network.nir"
    nir.write(path, graph)
    return path


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_ours_to_nir_to_ours_has_its_bits_over_a_thousand_steps(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    model, x = made(name, dtype, N=2, T=1000)
    again = from_nir(by_file(to_nir(model, x, certify=False), tmp_path), DT)
    with torch.no_grad():
        want, got = model(x), again(x)
    assert want.dtype == got.dtype == dtype
    assert again.mode == "auto"
    assert 0.0 < (want != 0).double().mean() < 1.0 or name == "readout"
    torch.testing.assert_close(got, want, rtol=0.0, atol=0.0)


@pytest.mark.sampled
@pytest.mark.parametrize("name", NETWORKS)
def test_graph_and_network_are_certified_in_double_precision(name: str) -> None:
    model, x = made(name, torch.float64)
    certificate = verify_nir(to_nir(model, x), x)
    assert certificate.equal, str(certificate)
    assert all(row.spikes for row in certificate.rows if row.error is None)


@pytest.mark.sampled
@pytest.mark.parametrize("discretisation", ["exponential", "exact", "euler"])
@pytest.mark.parametrize("name", [name for name in NETWORKS if "cuba" not in name])
def test_equations_say_the_same_without_the_metadata(name: str, discretisation: Any) -> None:
    """Decays take the way through time constants and back: up to rounding, that is."""
    model, x = made(name, torch.float64)
    graph = to_nir(model, x, discretisation=discretisation, dt=1e-3)
    again = from_nir(graph, 1e-3, discretisation, use_metadata=False)
    with torch.no_grad():
        torch.testing.assert_close(again(x), model(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["cuba lif", "cuba lif, equal taus"])
def test_a_current_of_its_own_is_solved_in_turn(name: str) -> None:
    model, x = made(name, torch.float64)
    for way in ("exponential", "euler"):
        again = from_nir(to_nir(model, x, discretisation=way), DT, way, use_metadata=False)
        with torch.no_grad():
            assert torch.equal(again(x), model(x))
    with pytest.raises(NIRError, match=r"layer '1': it solves the equations of its current and its membrane one"):
        to_nir(model, x, discretisation="exact")


@pytest.mark.parametrize("way", ["exact", "exponential", "euler"])
def test_imported_networks_are_exported_again(way: Any) -> None:
    """Every neuron node of NIR, with parameters of its own for each neuron, there and back."""
    rng = np.random.default_rng(0)

    def drawn(low: float, high: float) -> Any:
        return rng.uniform(low, high, 4)

    threshold = {"v_threshold": drawn(0.3, 0.6), "v_reset": drawn(-0.2, 0.1)}
    taus = {"tau_syn": drawn(2e-4, 9e-4), "tau_mem": drawn(2e-4, 9e-4), "w_in": drawn(1.0, 2.0)}
    leak = {"r": drawn(1.0, 2.0), "v_leak": drawn(-0.1, 0.1)}
    nodes = [
        nir.IF(r=drawn(1e3, 5e3), **threshold),
        nir.LIF(tau=drawn(2e-4, 9e-4), **leak, **threshold),
        nir.CubaLIF(**taus, **leak, **threshold),
        nir.I(r=drawn(1e3, 5e3)),
        nir.LI(tau=drawn(2e-4, 9e-4), **leak),
        nir.CubaLI(**taus, **leak),
        nir.Threshold(threshold=drawn(0.3, 0.6)),
    ]
    x = 2.0 * torch.rand(2, 30, 4, dtype=torch.float64)
    for node in nodes:
        model = from_nir(nir.NIRGraph.from_list(node), DT, way, dtype=torch.float64)
        graph = to_nir(model, x, discretisation=way)
        (again,) = [each for each in graph.nodes.values() if type(each) is type(node)]
        for field in vars(node).keys() - {"input_type", "output_type", "metadata"}:
            np.testing.assert_allclose(getattr(again, field), getattr(node, field), rtol=1e-9, atol=1e-15)
        assert verify_nir(graph, x).equal


def test_what_learns_and_what_fires_come_back() -> None:
    model, x = made("lif, learnable", torch.float32)
    again: Any = from_nir(to_nir(model, x), DT).net
    layer, want = again.get_submodule("1"), model.net[1]  # type: ignore[index]
    assert type(layer) is type(want)
    assert (layer.surrogate, layer.reset_rule) == (want.surrogate, want.reset_rule)
    assert {name for name, _ in layer.named_parameters()} == {"tau", "v0"}


def test_gradients_flow_as_in_the_original() -> None:
    model, x = made("recurrent", torch.float64)
    again = from_nir(to_nir(model, x), DT)
    weights = torch.randn(3, 60, 4, dtype=torch.float64)
    for each in (model, again):
        (each(x) * weights).sum().backward()
    for here, there in zip(model.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(there.grad, here.grad, rtol=0.0, atol=0.0)


def test_weights_alone_are_loaded_into_a_network_that_stands() -> None:
    model, x = made("branches", torch.float32)
    graph = to_nir(model, x)
    torch.manual_seed(1)
    make, _ = NETWORKS["branches"]
    other = st.SpikingNet(make()).eval()
    # the batch norm is a part of the weights now, so that a network without it takes them
    other.net.norm = torch.nn.Identity()
    other.net.first = torch.nn.Conv2d(2, 4, 3, padding=1)
    loaded = load_nir_weights(other, graph)
    assert loaded == ["first <- first", "second <- second", "out <- out"]
    with torch.no_grad():
        assert torch.equal(other(x), from_nir(graph, DT)(x))


def test_weights_that_do_not_fit_are_an_error_that_lists_both() -> None:
    model, x = made("lif", torch.float32)
    other = st.SpikingNet(torch.nn.Sequential(torch.nn.Linear(5, 9), st.LIF()))
    with pytest.raises(NIRError, match=r"has the weights 0 \(9, 5\), and the graph 0 \(8, 5\), 2 \(4, 8\), which"):
        load_nir_weights(other, to_nir(model, x))


def test_a_bias_without_a_place_is_named() -> None:
    model, x = made("lif", torch.float32)
    graph = to_nir(model, x)
    model.net[0] = torch.nn.Linear(5, 8, bias=False)  # type: ignore[operator]
    with pytest.raises(NIRError, match="node '0' has a bias, and '0' has none to take it; make it with bias=True"):
        load_nir_weights(model, graph)


def test_weights_are_loaded_where_it_is_clear_which() -> None:
    linear = torch.nn.Linear
    source = st.SpikingNet(torch.nn.Sequential(linear(4, 4), st.LIF(), linear(4, 4), st.LIF()))
    graph: Any = to_nir(source, torch.rand(2, 9, 4))
    names = st.SpikingNet(torch.nn.Sequential(torch.nn.Identity(), linear(4, 4), st.LIF(), linear(4, 4), st.LIF()))
    with pytest.raises(NIRError, match="match neither by name nor, one of each shape, by order"):
        load_nir_weights(names, graph)
    computed = torch.nn.utils.parametrizations.weight_norm(linear(4, 4))
    with pytest.raises(NIRError, match="the weight of '0' is computed and no parameter"):
        load_nir_weights(st.SpikingNet(torch.nn.Sequential(computed, st.LIF(), linear(4, 4), st.LIF())), graph)
    normed = torch.nn.Sequential(linear(4, 4), torch.nn.BatchNorm1d(4), st.LIF(), linear(4, 4), st.LIF())
    with pytest.raises(NIRError, match="'1' is a batch norm, which a graph merges into the weights before it"):
        load_nir_weights(st.SpikingNet(normed), graph)
    graph.nodes["0"].weight[0, 0] = np.nan
    with pytest.raises(NIRError, match="weight holds NaN or infinities"):
        load_nir_weights(source, graph)
    assert not source.net[0].weight.isnan().any()  # type: ignore[index]
    with pytest.raises(TypeError, match="load_nir_weights: model is a Linear, expected a SpikingNet"):
        load_nir_weights(linear(4, 4), graph)  # type: ignore[arg-type]


def test_a_bias_of_another_shape_is_not_spread() -> None:
    model = st.SpikingNet(torch.nn.Sequential(torch.nn.Linear(4, 5), st.LIF()))
    graph: Any = to_nir(model, torch.rand(2, 9, 4))
    before = model.net[0].bias.detach().clone()  # type: ignore[index]
    graph.nodes["0"].bias = np.ones(1)
    with pytest.raises(NIRError, match=r"the bias of node '0' has shape \(1,\), expected that of '0', \(5,\)"):
        load_nir_weights(model, graph)
    assert torch.equal(model.net[0].bias, before)  # type: ignore[index]


@pytest.mark.parametrize(
    "make",
    [
        lambda: st.SequenceDropout(0.5),
        lambda: st.TimeBatchNorm1d(5),
        lambda: st.TimeBatchNorm1d(5, affine=False),
        lambda: st.ThresholdDependentBatchNorm(5, 0.7),
    ],
    ids=["dropout", "norm", "norm without weights", "norm with a factor"],
)
def test_dropout_and_batch_norms_over_time_are_as_in_evaluation(make: Any) -> None:
    torch.manual_seed(0)
    layer = make()
    if (norm := getattr(layer, "norm", None)) is not None:
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.1, 2.0)
    model, x = st.SpikingNet(torch.nn.Sequential(torch.nn.Linear(4, 5), layer, st.IF())), torch.rand(2, 30, 4)
    graph = to_nir(model, x)
    want = model.eval()(x)
    assert want.any()
    assert torch.equal(from_nir(graph, DT)(x), want)


@pytest.mark.parametrize("batch_first", [True, False])
def test_the_order_of_axes_comes_back(batch_first: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(4, 5), st.LIF(threshold=0.3))
    model, x = st.SpikingNet(net, batch_first=batch_first), torch.rand(40, 16, 4)
    path = by_file(graph := to_nir(model, x, target="snntorch"), tmp_path)
    assert torch.equal(from_nir(path)(x), model(x))
    found, (N, T, order) = verify_nir(path, x), (40, 16, "(N, T, ...)") if batch_first else (16, 40, "(T, N, ...)")
    assert (found.equal, found.samples, found.steps, str(found)[-12:-1]) == (True, N, T, order)
    assert main([str(path)]) == 0
    assert (
        f"2 samples of 100 steps of 0.0001 s, euler, network in float32, sample taken as {order}"
        in capsys.readouterr().out
    )
    # a file of before, and a damaged one
    content = json.loads(graph.metadata.pop("spikingtorch"))
    del content["batch_first"]
    for each in ({}, {"batch_first": "no"}):
        graph.metadata["spikingtorch"] = json.dumps(content | each)
        if each:
            with pytest.raises(NIRError, match="metadata: batch_first='no' is a str"):
                verify_nir(graph, x)
        else:
            assert verify_nir(graph, x).batch_first


def test_what_is_frozen_stays_frozen() -> None:
    layer = st.LIF(tau=torch.full((4,), 3.0), learnable=("tau", "threshold"))
    layer.tau.requires_grad_(False)
    model = st.SpikingNet(torch.nn.Sequential(torch.nn.Linear(4, 4), layer))
    again: Any = from_nir(to_nir(model, torch.rand(2, 9, 4)), DT).net
    assert [name for name, _ in again.get_submodule("1").named_parameters()] == ["v0"]


def test_one_neuron_for_each_sample() -> None:
    model, x = st.SpikingNet(torch.nn.Sequential(st.LIF(tau=3.0))), torch.rand(4, 30)
    assert torch.equal(from_nir(to_nir(model, x), DT)(x), model(x))
    with pytest.raises(NIRError, match=r"the network is a single LIF; put it into an nn.Sequential"):
        to_nir(st.SpikingNet(st.LIF()), x)


def test_a_fifth_of_all_decays_change_on_the_way_through_a_time_constant() -> None:
    """Which is why the metadata hold what the user gave, and the documentation says so."""
    decays = np.random.default_rng(0).uniform(0.01, 0.999, 100_000)
    assert 0.18 < (np.exp(1.0 / (1.0 / np.log(decays))) != decays).mean() < 0.26
