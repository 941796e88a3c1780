"""Exports for the reader of one library: its model spikes as the network does, and the certificate names it.

``tests/peers/test_nir.py`` has the same networks in the readers themselves.
"""

import re
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from torch import nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.interop.nir import NIRError, dialects, from_nir, to_nir, verify_nir
from spikingtorch.interop.nir.certificate import certified
from spikingtorch.interop.nir.metadata import unpacked
from spikingtorch.interop.nir.targets import TARGETS
from spikingtorch.like import norse, sinabs, snntorch
from tests.interop.nir.graphs import chain, lif
from tests.interop.nir.targets import NETWORKS, READ, REFUSED, counting, dense, made

pytestmark = pytest.mark.filterwarnings("error")
X = (torch.rand(2, 40, 6, generator=torch.Generator().manual_seed(0)) < 0.4).float()


def exported(*modules: nn.Module, target: str | None, x: Any = X, **options: Any) -> Any:
    return to_nir(st.SpikingNet(nn.Sequential(*modules)).eval(), x, target=target, **options)


@pytest.mark.sampled
@pytest.mark.parametrize(("target", "name"), READ)
def test_the_certificate_is_the_readers_and_the_file_the_same_network(target: str, name: str, tmp_path: Path) -> None:
    model, x = made(name)
    graph, how = to_nir(model, x, target=target), TARGETS[target]
    certificate = verify_nir(graph, x)
    assert certificate.equal, str(certificate)
    assert all(row.spikes for row in certificate.rows if row.error is None)
    assert certificate.reader == how.title
    assert f"spikes equal in the reader of {how.title} (3 samples of 60 steps" in str(certificate)
    nir.write(tmp_path / "network.nir", graph)
    with torch.no_grad():
        want = model(x)
        assert torch.equal(from_nir(tmp_path / "network.nir", how.dt)(x), want)
        if target != "sinabs":  # by Euler's method, the nodes alone say the same
            assert torch.equal(from_nir(graph, how.dt, "euler", use_metadata=False)(x), want)


@pytest.mark.parametrize(("target", "name"), [(target, name) for target in REFUSED for name in REFUSED[target]])
def test_what_a_reader_does_not_compute_is_refused_in_words(target: str, name: str) -> None:
    model, x = made(name, N=1, T=5)
    with pytest.raises(NIRError, match=REFUSED[target][name]):
        to_nir(model, x, target=target, certify=False)


@pytest.mark.parametrize("name", ["counts: lif", "counts: if", "counts: skip", "counts: readout"])
def test_the_nodes_alone_say_the_same_in_the_dialect_of_sinabs(name: str) -> None:
    model, x = made(name)
    graph = to_nir(model, x, target="sinabs", certify=False)
    again = from_nir(graph, 1.0, dialect=dialects.Sinabs(norm_input=False), use_metadata=False)
    with torch.no_grad():
        torch.testing.assert_close(again(x), model(x), rtol=1e-5, atol=1e-5)


AT_MOST_TWO: Any = sinabs.MaxSpike(2)
_LIKE: list[tuple[nn.Module, str]] = [
    (snntorch.Leaky(0.9), r"resets by 'subtract' one step after its spike"),
    (snntorch.Synaptic(0.7, 0.9, reset_mechanism="zero"), r"resets by 'zero' one step after its spike"),
    (snntorch.Leaky(0.9, reset_delay=False), r"resets by_subtraction, and not to a value"),
    (snntorch.Leaky(0.9, -0.1, reset_mechanism="zero", reset_delay=False), r"has a threshold of 0 or less"),
    (snntorch.Leaky(0.9, reset_mechanism="zero", graded_spikes_factor=2.0), r"multiplies its spikes by"),
    (snntorch.RLeaky(0.9, linear_features=6, reset_delay=False), r"has a bias in its recurrent weights"),
    (norse.LIFBoxCell(norse.LIFBoxParameters(reset_method=norse.reset_subtract)), r"resets by_subtraction"),
    (norse.LIFCell(norse.LIFParameters(v_leak=torch.tensor(0.1))), r"does not start at zero"),
    (norse.LIFRecurrentCell(6, 8), r"a neuron without a primitive of NIR"),
    (sinabs.IAF(spike_fn=sinabs.SingleSpike, min_v_mem=-0.5), r"keeps its membrane at min_v_mem or above"),
    (sinabs.IAF(spike_fn=AT_MOST_TWO), r"has spike_fn Multi\(.* Nearest to it: MultiSpike"),
    (sinabs.IAF(reset_fn=sinabs.MembraneReset(0.2)), r"has reset_fn MembraneReset\(reset_value=0.2\)"),
]


@pytest.mark.parametrize(("layer", "said"), _LIKE, ids=lambda each: type(each).__name__)
def test_what_a_layer_of_like_does_and_nir_cannot_say_is_refused(layer: nn.Module, said: str) -> None:
    with pytest.raises(NIRError, match=said):
        exported(nn.Identity(), layer, target=None)


def test_without_a_target_the_certificate_is_one_of_nir_and_of_no_library() -> None:
    model, x = made("lif")
    for way, said in (("exact", "exact solution"), ("exponential", "solved exactly in turn"), ("euler", "Euler's")):
        text = str(verify_nir(to_nir(model, x, discretisation=way), x))  # type: ignore[arg-type]
        assert re.search(r"spikes equal by .*NIR's equations.* \(", text)
        assert said in text
        assert "reader" not in text
        assert verify_nir(to_nir(model, x), x).reader is None


def test_the_readers_of_a_file_that_was_written_for_none_spike_differently() -> None:
    """A LIF decays by exp(-1 / tau); snnTorch and SpikingJelly read 1 - 1 / tau, and Norse ignores r."""
    model, x = made("lif")
    graph = to_nir(model, x)
    for target in ("snntorch", "norse", "spikingjelly"):
        found = verify_nir(graph, x, target=target)
        assert not found.equal
        assert not found.within_rounding
        title = TARGETS[target].title
        assert re.search(rf"spikes differ first at .* and the reader of {title} does", str(found))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "changes",
    [{"tau": np.full(8, 1.31e-3)}, {"v_threshold": np.full(8, 0.9, np.float32)}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_graph_with_another_number_is_not_certified(target: str, changes: dict[str, Any]) -> None:
    neurons = (counting(st.LIF, tau=4.0), counting(st.LIF)) if target == "sinabs" else (st.LIF(tau=4.0), st.LIF())
    torch.manual_seed(0)
    model = st.SpikingNet(dense(*neurons)).eval()
    graph = to_nir(model, X, target=target)
    how = TARGETS[target]
    paths: Any = {"1": "1", "3": "3"}
    assert certified(model, graph, X, paths, how.dt, how.discretisation, how).equal
    node: Any = graph.nodes["1"]
    for field, value in changes.items():
        setattr(node, field, value)
    if target == "spikingjelly":  # r goes with tau, or it is refused
        node.r = node.tau / how.dt
    assert not certified(model, graph, X, paths, how.dt, how.discretisation, how).equal


def test_membranes_at_their_threshold_fire_as_here() -> None:
    """Quarters are exact in every order of operations, so that each neuron meets its threshold often."""
    for target in ("snntorch", "norse", "spikingjelly"):
        for surrogate in (F.Sigmoid(), F.Strict(F.Sigmoid())):
            neuron = st.StepLayer(F.lif_step, F.LIFState, decay=0.5, gain=1.0, threshold=1.0, surrogate=surrogate)
            if target == "norse":  # r = 1 there: an input counts half
                neuron.gain = 0.5
            model = st.SpikingNet(nn.Sequential(neuron, nn.Identity(), st.IF(surrogate=surrogate))).eval()
            x = torch.randint(0, 9, (4, 80, 6), generator=torch.Generator().manual_seed(1)).float() / 4.0
            u = st.record(model, x, "u")["0"]["u"]
            assert (u == 1.0).sum() > 50
            assert verify_nir(to_nir(model, x, target=target), x).equal


def test_a_network_in_double_precision_is_certified_for_readers_in_single() -> None:
    for target, name in (("snntorch", "lif"), ("norse", "cuba"), ("sinabs", "counts: if"), ("spikingjelly", "images")):
        model, x = made(name, dtype=torch.float64)
        graph: Any = to_nir(model, x, target=target)
        assert graph.nodes["1"].v_threshold.dtype == np.float32
        assert verify_nir(graph, x).equal
        with torch.no_grad():
            assert torch.equal(from_nir(graph, TARGETS[target].dt)(x), model(x))


LOSSY: dict[str, tuple[str, nn.Module, str]] = {
    "soft": (
        "snntorch",
        st.LIF(reset=F.by_subtraction),
        r"resets by_subtraction, and not to a value, which the reader",
    ),
    "value": ("norse", st.LIF(reset=F.to_value(-0.3)), r"starts at 0 and is reset to -0.3, which the reader of Norse"),
    "leak": (
        "spikingjelly",
        st.ParametricLIF(3.0, v_rest=0.2),
        r"(does not start at zero|leaks towards 0.2), which the",
    ),
    "hard": ("sinabs", st.LIF(surrogate=F.MultiSpike()), r"resets to_zero, which the reader of Sinabs 3.1.3 does not"),
    "once": ("sinabs", st.LIF(reset=F.by_subtraction), r"fires once in a step at most, which the reader of Sinabs"),
}


@pytest.mark.parametrize("name", LOSSY)
def test_what_comes_nearest_is_exported_on_request_and_noted(name: str) -> None:
    target, neuron, message = LOSSY[name]
    torch.manual_seed(0)
    with pytest.raises(NIRError, match=rf"layer '1' {message}(.|\n)*approximate=True exports that"):
        exported(nn.Linear(6, 4), neuron, target=target)
    graph = exported(nn.Linear(6, 4), neuron, target=target, approximate=True)
    said: Any = unpacked(graph)
    assert said.target == target
    assert "exported: " in said.lost["1"]
    # what is read is what the reader makes of it
    assert verify_nir(graph, X).equal


def test_membranes_of_images_in_sinabs_have_a_floor() -> None:
    x = torch.rand(1, 9, 2, 4, 4)
    with pytest.raises(NIRError, match=r"layer '1' lets its membrane fall below -threshold, which the reader of"):
        exported(nn.Conv2d(2, 3, 3), counting(st.IF), target="sinabs", x=x)
    with pytest.raises(NIRError, match=r"LIF of neurons of shape \(3, 2, 2\), and the reader of Sinabs .* one axis"):
        exported(nn.Conv2d(2, 3, 3), counting(st.LIF), target="sinabs", x=x)
    graph = exported(nn.Conv2d(2, 3, 3), counting(st.IF), target="sinabs", x=x - 0.5, approximate=True)
    assert verify_nir(graph, x - 0.5).equal


OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "target": ({"target": "brian"}, r"to_nir: target='brian' is not one of 'snntorch', 'norse', 'sinabs', 'spiki"),
    "dt": ({"target": "snntorch", "dt": 1e-3}, r"to_nir: dt=0.001, but the reader of snnTorch 1.0.0 takes 0.0001"),
    "way": ({"target": "norse", "discretisation": "exact"}, r"discretisation='exact', but the reader of Norse .* 'eu"),
    "number": ({"target": 3}, r"to_nir: target=3 is not one of"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_that_no_reader_has(name: str) -> None:
    options, message = OPTIONS[name]
    with pytest.raises(NIRError, match=message):
        exported(nn.Linear(6, 4), st.LIF(), **options)


@pytest.mark.parametrize("target", ["norse", "spikingjelly"])
def test_readers_that_are_told_another_dt(target: str) -> None:
    model, x = made("lif")
    graph = to_nir(model, x, target=target, dt=2.5e-3)
    assert verify_nir(graph, x).equal
    assert " of 0.0025 s, " in str(verify_nir(graph, x))
    with torch.no_grad():
        assert torch.equal(from_nir(graph, 2.5e-3)(x), model(x))


REFUSING: dict[str, tuple[str, Any, str]] = {
    "v_leak": (
        "snntorch",
        lif(v_leak=np.full(3, 0.2)),
        r"node 'n0' \(LIF\): not computed by the reader of snnTorch 1.0.0: v_leak",
    ),
    "IF": ("snntorch", nir.IF(r=np.ones(3), v_threshold=np.ones(3)), r"it leaves such a node out, or fails on it"),
    "LI": ("norse", nir.LI(tau=np.ones(3), r=np.ones(3), v_leak=np.zeros(3)), r"it leaves such a node out, or fails"),
    "Linear": ("sinabs", nir.Linear(weight=np.eye(3)), r"it leaves such a node out, or fails on it"),
    "r": ("spikingjelly", lif(r=np.full(3, 3.0)), r"r is neither 1 nor tau / dt"),
    "tau": ("spikingjelly", lif(tau=np.array([1e-3, 2e-3, 3e-3])), r"tau differs between neurons"),
    "flatten": ("norse", nir.Flatten({"input": np.array([3])}, 0, -1), r"counts with the batch"),
}


@pytest.mark.parametrize("name", REFUSING)
def test_files_that_a_reader_does_not_run_as_nir_says_have_no_certificate(name: str) -> None:
    target, node, message = REFUSING[name]
    with pytest.raises(NIRError, match=message):
        verify_nir(chain(node), torch.rand(2, 9, 3), dt=1e-4, target=target)


def test_edges_in_an_order_that_depth_first_readers_get_wrong() -> None:
    """They come to the output before the way back, and give that out."""
    graph = exported(nn.Linear(6, 4), st.LIF(recurrent=nn.Linear(4, 4, bias=False)), target="norse")
    assert verify_nir(graph, X).equal
    graph.edges.remove(("1", "1_recurrent"))
    graph.edges.append(("1", "1_recurrent"))
    with pytest.raises(NIRError, match=r"the reader of Norse 1.1.0 returns '1_recurrent' and not 'output'"):
        verify_nir(graph, X)


OTHER_STEPS: dict[str, tuple[str, dict[str, Any], str]] = {
    "Norse": ("norse", {"dt": 1e-4}, r"dt=0.0001 .* for the reader of Norse 1.1.0, in steps of 0.001 s by 'euler'"),
    "another dt of Norse": ("norse", {"dt": 1e-3, "discretisation": "exact"}, r"discretisation='exact' .* by 'euler'"),
    "snnTorch": ("snntorch", {"dt": 1e-3}, r"leave both out, or pass use_metadata=False to discretise .* anew"),
    "Sinabs, whose time constants count steps": ("sinabs", {"dt": 1e-4}, r"in steps of 1 s .*; leave both out$"),
}


@pytest.mark.parametrize("name", OTHER_STEPS)
def test_a_file_for_a_reader_is_read_in_its_steps_alone(name: str) -> None:
    target, options, message = OTHER_STEPS[name]
    neurons = counting(st.LIF) if target == "sinabs" else st.LIF(tau=4.0)
    graph = exported(nn.Linear(6, 4), neurons, target=target)
    with pytest.raises(NIRError, match=message):
        from_nir(graph, **options)
    with pytest.raises(NIRError, match=message):
        verify_nir(graph, X, **options)


@pytest.mark.parametrize("target", ["norse", "snntorch", "spikingjelly"])
def test_the_equations_of_such_a_file_are_discretised_anew_on_request(target: str) -> None:
    model, x = made("lif")
    graph = to_nir(model, x, target=target)
    again = from_nir(graph, TARGETS[target].dt / 2, use_metadata=False)
    with torch.no_grad():
        assert not torch.equal(again(x), model(x))


@pytest.mark.parametrize("target", [None, *TARGETS])
@pytest.mark.parametrize("use_metadata", [True, False])
def test_a_file_of_this_library_knows_its_step(target: str | None, use_metadata: bool) -> None:
    neurons = counting(st.LIF) if target == "sinabs" else st.LIF(tau=4.0)
    graph = to_nir(st.SpikingNet(nn.Sequential(nn.Linear(6, 4), neurons)), X, target=target)
    dt = 1e-4 if target is None else TARGETS[target].dt
    with torch.no_grad():
        out = from_nir(graph, use_metadata=use_metadata)(X)
        assert torch.equal(out, from_nir(graph, dt, use_metadata=use_metadata)(X))


def test_a_file_of_others_does_not_know_it() -> None:
    with pytest.raises(NIRError, match=r"from_nir: the graph does not say how long a step is; pass dt=1e-4, for inst"):
        from_nir(chain(lif()))


def test_neurons_without_a_description_are_read_as_the_reader_does() -> None:
    """A surrogate of the user's has no name in the metadata."""

    for target in ("snntorch", "norse", "spikingjelly"):
        model, x = made("lif")
        layer: Any = model.net.get_submodule("1")
        layer.surrogate = lambda u: (u >= 0).to(u.dtype)
        again: Any = from_nir(to_nir(model, x, target=target), TARGETS[target].dt)
        assert isinstance(again.net.get_submodule("1").surrogate, F.Sigmoid if target == "spikingjelly" else F.Strict)
        with torch.no_grad():
            assert torch.equal(again(x), model(x))


def test_gains_below_zero_are_refused() -> None:
    neuron = st.StepLayer(F.lif_step, F.LIFState, decay=0.5, gain=-1.0, threshold=1.0)
    with pytest.raises(NIRError, match=r"multiplies its input by -1 \(gain\), and the reader of snnTorch"):
        exported(nn.Linear(6, 4), neuron, target="snntorch")


def test_every_network_is_read_by_somebody() -> None:
    assert {name for _, name in READ} == set(NETWORKS)
