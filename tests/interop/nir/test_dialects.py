"""Files that other libraries have written, read as they mean them: their own spikes, for their own inputs."""

from typing import Any

import numpy as np
import pytest
import torch

from spikingtorch import functional as F
from spikingtorch.interop.nir import NIRError, dialects, from_nir
from tests.interop.nir.graphs import chain, lif
from tests.interop.nir.peers import fixture

PEERS = tuple(dialects.DIALECTS)
NAMES = [name for peer in PEERS for name in fixture.names(peer)]


@pytest.mark.sampled
@pytest.mark.parametrize("name", NAMES)
def test_a_file_spikes_as_its_writer_did(name: str) -> None:
    found = fixture.load(name)
    peer = next(each for each in PEERS if name.startswith(each))
    options = dict(found.options)
    dt = options.pop("dt", found.dt if np.isfinite(found.dt) else 1.0)
    dialect: Any = dialects.DIALECTS[peer](**options)
    model = from_nir(found.graph, dt, dialect=dialect)
    x = torch.from_numpy(found.x).swapaxes(0, 1)
    with torch.no_grad():
        out = model(x).swapaxes(0, 1).numpy()
    assert out.shape == found.out.shape
    if np.isin(found.out, (0.0, 1.0, 2.0, 3.0, 4.0)).all():
        np.testing.assert_array_equal(out, found.out)
    else:  # a readout, whose sums round in another order
        np.testing.assert_allclose(out, found.out, rtol=1e-4, atol=1e-5)


def test_there_are_files_of_every_peer() -> None:
    assert len(NAMES) >= 40
    assert all(fixture.names(peer) for peer in PEERS)


def test_a_name_that_is_no_dialect() -> None:
    with pytest.raises(NIRError, match=r"dialect='brian' is not one of 'nir', 'snntorch', 'norse'"):
        from_nir(chain(lif()), 1e-4, dialect="brian")


def test_nodes_that_a_library_does_not_write() -> None:
    import nir

    with pytest.raises(NIRError, match=r"node 'n0' is a I, which SnnTorch does not write"):
        from_nir(chain(nir.I(r=np.ones(3))), 1e-4, dialect="snntorch")
    with pytest.raises(
        NIRError, match=r"node 'n0' \(LIF\): r dt / tau is .*, where this library writes 1; is dt right"
    ):
        from_nir(chain(lif(r=np.full(3, 7.0))), 1e-4, dialect="spikingjelly")


CONTRADICTIONS: dict[str, tuple[Any, Any, str]] = {
    "snntorch": (lif(v_leak=np.full(3, 5.0)), "snntorch", r"v_leak is 5, where this library writes 0"),
    "snntorch, dt": (
        lif(r=np.full(3, 10.0)),
        "snntorch",
        r"r dt / tau is 100, where this library writes 1",
    ),
    "norse": (lif(r=np.full(3, 7.0)), "norse", r"r is 7, where this library writes 1"),
    "norse, reset": (lif(), dialects.Norse(reset="foo"), r"has a reset other than"),  # type: ignore[arg-type]
    "sinabs": (lif(v_leak=np.full(3, 5.0)), "sinabs", r"v_leak is 5, where this library writes 0"),
    "sinabs, spikes": (lif(), dialects.Sinabs(spikes="foo"), r"expected spikes 'multi' or 'single'"),  # type: ignore[arg-type]
    "spikingjelly": (
        lif(v_leak=np.full(3, 5.0)),
        "spikingjelly",
        r"v_leak - v_reset is 5, where",
    ),
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
