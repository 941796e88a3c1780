"""Our files in the readers of the peers, as they read them where they are installed: with a target, equal spikes."""

import warnings

import numpy as np
import pytest

from spikingtorch.interop.nir import NIRError
from tests.interop.nir.peers import ours, table

PAIRS = [(peer, name) for peer in ours.PEERS for name in ours.NETWORKS]
COUNTING = {name for name in ours.NETWORKS if name.endswith("that counts")}
NOT_IN = {
    "snntorch": {"LI", "LIF, a tau for each neuron", "recurrent LIF"} | COUNTING,
    "norse": {"LI"} | COUNTING,
    "sinabs": set(ours.NETWORKS) - COUNTING,
    "spikingjelly": {"LI", "LIF, a tau for each neuron"} | COUNTING,
}


@pytest.mark.sampled
@pytest.mark.parametrize(("peer", "name"), PAIRS)
def test_a_reader_spikes_as_we_do_or_the_export_refuses(peer: str, name: str) -> None:
    found = table.read_by_them(peer, name, "target")
    assert found.equal == (name not in NOT_IN[peer])
    assert found.equal or found.text.startswith("refused: ")
    if name != "LI":
        assert 0.02 < (ours.spikes(name) != 0).mean() < 0.4


@pytest.mark.parametrize("peer", ours.PEERS)
def test_without_a_target_hardly_anything_is_read_right(peer: str) -> None:
    """What is written for readers that go by NIR is for no library: that is why there are targets."""
    equal = {name for name in ours.NETWORKS if table.read_by_them(peer, name, "default").equal}
    assert len(equal) <= 3


@pytest.mark.sampled
@pytest.mark.parametrize("variant", ours.VARIANTS)
@pytest.mark.parametrize(("peer", "name"), PAIRS)
def test_the_reader_was_given_what_is_exported_now(peer: str, name: str, variant: ours.Variant) -> None:
    kept = ours.kept(peer, variant).get(name)
    if kept is None:
        with pytest.raises(NIRError, match=r"layer|recurrent"):
            ours.exported(name, peer, variant)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = ours.exported(name, peer, variant)
    off = np.abs(kept.numbers - ours.numbers(graph))
    # weights are drawn as u * (high - low) + low, which is rounded once or twice, as the processor multiplies and adds
    assert (off <= 4 * np.finfo(np.float32).eps * ours.ranges(graph)).all(), f"off by {off.max():.3g}"


@pytest.mark.long
def test_the_page_has_these_tables() -> None:
    page = table.PAGE.read_text()
    missing = [row for row in table.rows() if row not in page]
    assert not missing, "make nir-table writes them"
