"""Files that other libraries have written, read as they mean them: their own spikes, for their own inputs."""

from typing import Any

import numpy as np
import pytest
import torch

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.interop.nir import NIRError, dialects, from_nir
from tests.interop.nir.graphs import chain, lif
from tests.interop.nir.peers import fixture

PEERS = tuple(dialects.DIALECTS)
NAMES = [name for peer in PEERS for name in fixture.names(peer)]


def read(name: str, found: fixture.Fixture) -> dict[str, Any]:
    """Return what each neuron of a file gives out, (T, N, ...), as the dialect of its writer reads it."""
    options = dict(found.options)
    dt = options.pop("dt", found.dt if np.isfinite(found.dt) else 1.0)
    dialect: Any = dialects.DIALECTS[name.partition("_")[0]](**options)
    with torch.no_grad():
        recording = st.record(from_nir(found.graph, dt, dialect=dialect), torch.from_numpy(found.x).swapaxes(0, 1))
    outs = {node: recording[node.replace(".", "_")]["spikes"] for node in found.nodes}
    assert torch.equal(recording.out, list(outs.values())[-1])
    return {node: out.swapaxes(0, 1).numpy() for node, out in outs.items()}


@pytest.mark.sampled
@pytest.mark.parametrize("name", NAMES)
def test_a_file_spikes_as_its_writer_did(name: str) -> None:
    found = fixture.load(name)
    got = read(name, found)
    for node, want in found.nodes.items():
        if np.isin(want, (0.0, 1.0, 2.0, 3.0, 4.0)).all():
            np.testing.assert_array_equal(got[node], want)
        else:  # a readout, whose sums round in another order
            np.testing.assert_allclose(got[node], want, rtol=1e-4, atol=1e-5)


def told(name: str) -> list[str]:
    """Return what the writer's model was told, is not the default of its dialect, and not in the file."""
    defaults = dialects.DIALECTS[name.partition("_")[0]]()._asdict()
    return [key for key, value in fixture.load(name).options.items() if value != defaults.get(key, value)]


@pytest.mark.parametrize(("name", "key"), [(name, key) for name in NAMES for key in told(name)])
def test_without_what_a_file_does_not_say_the_spikes_are_others(name: str, key: str) -> None:
    found = fixture.load(name)
    got = read(name, found._replace(options={other: each for other, each in found.options.items() if other != key}))
    assert not all(np.allclose(got[node], want) for node, want in found.nodes.items())


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("_ties")])
def test_ties_tell_whether_a_neuron_fires_at_its_threshold(name: str) -> None:
    found = fixture.load(name)
    for node in found.graph.nodes.values():
        if hasattr(node, "v_threshold"):  # moved by one rounding, to the side on which a tie is the other way
            aside = np.float32(2.0 if name.startswith(("sinabs", "spikingjelly")) else 0.0)
            node.v_threshold = np.nextafter(np.asarray(node.v_threshold, np.float32), aside)
    assert not np.array_equal(next(iter(read(name, found).values())), next(iter(found.nodes.values())))


def test_there_are_files_for_every_option_of_every_peer_and_each_says_who_wrote_it() -> None:
    for peer, dialect in dialects.DIALECTS.items():
        assert fixture.names(peer)
        assert {key for name in fixture.names(peer) for key in told(name)} - {"dt"} == {*dialect()._fields}
    for name in NAMES:
        assert {name.partition("_")[0], "nir", "nirtorch", "torch"} == set(fixture.load(name).versions)


def test_a_name_that_is_no_dialect() -> None:
    with pytest.raises(NIRError, match=r"dialect='brian' is not one of 'nir', 'snntorch', 'norse'"):
        from_nir(chain(lif()), 1e-4, dialect="brian")


def test_nodes_that_a_library_does_not_write() -> None:
    import nir

    with pytest.raises(NIRError, match=r"node 'n0' is a I, which SnnTorch does not write"):
        from_nir(chain(nir.I(r=np.ones(3))), 1e-4, dialect="snntorch")
    with pytest.raises(NIRError, match=r"node 'n0' \(LIF\): r dt / tau is .*, where this library writes 1; check dt"):
        from_nir(chain(lif(r=np.full(3, 7.0))), 1e-4, dialect="spikingjelly")


CONTRADICTIONS: dict[str, tuple[Any, Any, str]] = {
    "snntorch": (lif(v_leak=np.full(3, 5.0)), "snntorch", r"v_leak is 5, where this library writes 0"),
    "snntorch, dt": (lif(r=np.full(3, 10.0)), "snntorch", r"r dt / tau is 100, where this library writes 1"),
    "norse": (lif(r=np.full(3, 7.0)), "norse", r"r is 7, where this library writes 1"),
    "norse, reset": (lif(), dialects.Norse(reset="foo"), r"has a reset other than"),  # type: ignore[arg-type]
    "sinabs": (lif(v_leak=np.full(3, 5.0)), "sinabs", r"v_leak is 5, where this library writes 0"),
    "sinabs, spikes": (lif(), dialects.Sinabs(spikes="foo"), r"expected spikes 'multi' or 'single'"),  # type: ignore[arg-type]
    "spikingjelly": (lif(v_leak=np.full(3, 5.0)), "spikingjelly", r"v_leak - v_reset is 5, where"),
    "a negative time": (lif(tau=-1e-3), "norse", r"tau has the value -0.001, expected time constants above zero"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_files_that_a_library_cannot_have_written(name: str) -> None:
    node, dialect, message = CONTRADICTIONS[name]
    dt = 1e-2 if name == "snntorch, dt" else 1e-4
    with pytest.raises(NIRError, match=message):
        from_nir(chain(node), dt, dialect=dialect)


def test_what_a_dialect_has_of_its_own_is_not_asked_for() -> None:
    given: list[dict[str, Any]] = [{"discretisation": "exact"}, {"surrogate": F.Arctan()}]
    for options in given:
        with pytest.raises(NIRError, match=r"with a dialect, the layers have a discretisation"):
            from_nir(chain(lif()), 1e-4, dialect="norse", **options)
