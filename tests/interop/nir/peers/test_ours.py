"""Our files in the readers of the peers: the same spikes wherever their reader is right, or the reason why not."""

import warnings

import numpy as np
import pytest

from tests.interop.nir.peers import ours, table

PAIRS = [(peer, name) for peer in ours.READERS for name in ours.NETWORKS]
EQUAL = {
    "snntorch": {"LIF", "LIF with gain 1", "LIF with r = 1", "CubaLIF with gain 1"},
    "norse": {"LIF with r = 1", "IF", "CubaLIF", "recurrent LIF with r = 1"},
    "sinabs": set[str](),
    "spikingjelly": set(ours.NETWORKS) - {"LIF", "LI", "CubaLIF"},
}


@pytest.mark.parametrize(("peer", "name"), PAIRS)
def test_a_reader_gives_our_spikes_or_is_known_not_to(peer: str, name: str) -> None:
    found = table.read_by_them(peer, name)
    assert found.equal == (name in EQUAL[peer])
    if not found.equal:
        assert table.reason(peer, name)
    if name != "LI":
        assert 0.02 < (ours.spikes(name) != 0).mean() < 0.4


@pytest.mark.sampled
@pytest.mark.parametrize(("peer", "name"), PAIRS)
def test_the_reader_was_given_what_is_exported_now(peer: str, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        now = ours.numbers(ours.exported(name, peer))
    np.testing.assert_allclose(ours.kept(peer)[name].numbers, now, rtol=1e-6, atol=1e-12)


@pytest.mark.long
def test_the_page_has_these_tables() -> None:
    page = table.PAGE.read_text()
    missing = [row for row in table.rows() if row not in page]
    assert not missing, "python -m tests.interop.nir.peers.table writes them"
