"""The equations of ``semantics`` give the spikes of each peer's own models, from the numbers in the files."""

from functools import partial
from typing import Any

import nir
import numpy as np
import pytest

from tests.interop.nir.peers import fixture, probe, semantics

PEERS = ("snntorch", "norse", "sinabs", "spikingjelly")
ALL = [(peer, name) for peer in PEERS for name in fixture.names(peer)]


def neurons_of(peer: str, found: fixture.Fixture) -> dict[str, semantics.Neuron]:
    """Return the function of each neuron node of a fixture, told what the file does not say."""
    functions = semantics.NEURONS[peer]
    neurons: dict[str, semantics.Neuron] = {}
    for name, node in found.graph.nodes.items():
        if type(node) in functions:
            function = functions[type(node)]
            if peer == "snntorch" and name.endswith(".lif") and isinstance(node, nir.LIF):
                function = semantics.snntorch_recurrent_lif
            known = function.__kwdefaults__ or {}
            neurons[name] = partial(function, **{key: each for key, each in found.options.items() if key in known})
    return neurons


def run(peer: str, found: fixture.Fixture) -> dict[str, fixture.Array]:
    return semantics.run(found.graph, found.x, neurons_of(peer, found))


@pytest.mark.parametrize(("peer", "name"), ALL)
def test_the_equations_give_what_the_peer_gave(peer: str, name: str) -> None:
    found = fixture.load(name)
    got = run(peer, found)
    assert found.nodes
    for node, want in found.nodes.items():
        if isinstance(found.graph.nodes[node], nir.LI):
            np.testing.assert_allclose(got[node], want, rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(got[node], want)
    np.testing.assert_array_equal(found.out, list(found.nodes.values())[-1])


def _told() -> list[tuple[str, str, str]]:
    """Return each thing that a peer's model was told, is not the peer's default and not in the file."""
    told = []
    for peer, name in ALL:
        found = fixture.load(name)
        defaults: dict[str, Any] = {}
        for neuron in neurons_of(peer, found).values():
            defaults |= neuron.func.__kwdefaults__ or {}  # type: ignore[attr-defined]
        told += [(peer, name, key) for key, value in found.options.items() if value != defaults.get(key, value)]
    return told


@pytest.mark.parametrize(("peer", "name", "key"), _told())
def test_without_what_the_file_does_not_say_the_spikes_are_others(peer: str, name: str, key: str) -> None:
    found = fixture.load(name)
    less = found._replace(options={other: value for other, value in found.options.items() if other != key})
    got = run(peer, less)
    assert not all(np.allclose(got[node], want) for node, want in found.nodes.items())


# files that mean by NIR's own equations, in steps of the exporter's dt, what the peer did
AS_NIR_BY_EULER = {
    "snntorch_mlp_zero",
    "norse_box_export_dt_1",
    "spikingjelly_conv",
    "spikingjelly_cuba_lif",
    "spikingjelly_lif_dt",
    "spikingjelly_lif_whole_input",
    "spikingjelly_mlp_if",
    "spikingjelly_mlp_lif",
    "spikingjelly_plif",
}
AS_NIR_EXACTLY = {"sinabs_lif_reset_single", "spikingjelly_mlp_if"}
# the same, but that the membrane starts at v_reset
AS_NIR_FROM_V_RESET = {"spikingjelly_lif_reset", "spikingjelly_if_reset", "spikingjelly_cuba_lif_reset"}


@pytest.mark.parametrize(("peer", "name"), ALL)
def test_which_files_mean_what_nir_says(peer: str, name: str) -> None:
    found = fixture.load(name)

    def equal(how: probe.Reading) -> bool:
        got = probe.run(found.graph, found.x, found.dt, how)
        return np.allclose(got, found.out, rtol=1e-4, atol=1e-4)

    assert equal(probe.Reading("euler")) == (name in AS_NIR_BY_EULER)
    assert equal(probe.Reading("exact")) == (name in AS_NIR_EXACTLY)
    if name in AS_NIR_FROM_V_RESET:
        assert equal(probe.Reading("euler", start="starts at v_reset"))


@pytest.mark.parametrize(("peer", "name"), [(peer, name) for peer, name in ALL if name.endswith("_ties")])
def test_ties_tell_whether_a_neuron_fires_at_its_threshold(peer: str, name: str) -> None:
    found = fixture.load(name)
    fires_at = peer in ("sinabs", "spikingjelly")
    for node in found.graph.nodes.values():
        if hasattr(node, "v_threshold"):
            thresholds = np.asarray(node.v_threshold, np.float32)
            node.v_threshold = np.nextafter(thresholds, np.float32(2.0 if fires_at else 0.0))
    got = run(peer, found)
    assert not np.array_equal(got[next(iter(found.nodes))], found.out)


def test_every_peer_has_fixtures_and_each_says_who_wrote_it() -> None:
    assert {peer for peer, _ in ALL} == set(PEERS)
    for peer, name in ALL:
        assert {peer, "nir", "nirtorch", "torch"} == set(fixture.load(name).versions)
