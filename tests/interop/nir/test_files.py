"""Files that somebody else has written: damaged, hostile, too large."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest

from spikingtorch.interop.nir import NIRError, from_nir, read
from tests.interop.nir.graphs import chain, lif


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "network.nir"
    nir.write(found, chain(lif(), lif()))
    return found


def test_a_file_is_read(path: Path) -> None:
    assert list(read(path).nodes) == ["input", "output", "n0", "n1"] or len(read(str(path)).nodes) == 4
    assert from_nir(path, 1e-4).Nout == (3,)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read(tmp_path / "nothing.nir")


def test_any_damage_is_an_error_of_ours_or_a_graph(path: Path) -> None:
    """Bytes are changed and cut off at random places."""
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    failed = 0
    for _ in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 20):
            damaged[place] = rng.integers(256)
        if rng.random() < 0.3:
            damaged = damaged[: rng.integers(len(whole))]
        path.write_bytes(bytes(damaged))
        try:
            from_nir(path, 1e-4)
        except NIRError:
            failed += 1
    assert failed > 20


def test_no_graph_in_it(path: Path) -> None:
    path.write_text("graph")
    with pytest.raises(NIRError, match="cannot be read as a NIR file"):
        read(path)
    with h5py.File(path, "w") as file:
        file["numbers"] = np.ones(3)
    with pytest.raises(NIRError, match="no graph of NIR is in it"):
        read(path)
    nir.write(path, lif())
    with pytest.raises(NIRError, match="holds no graph, but b'LIF'"):
        read(path)


def _endless(file: Any) -> None:
    file["node/nodes/n0/tau"].attrs["x"] = 1
    del file["node/nodes/n0/tau"]
    file["node/nodes/n0"].create_dataset("tau", shape=(10**7, 10**7), dtype="f8", chunks=(1, 10**6), compression="gzip")


def _linked(file: Any) -> None:
    file["node/nodes/n9"] = h5py.ExternalLink("/etc/hostname", "/")


def _in_circles(file: Any) -> None:
    file["node/nodes/n9"] = h5py.SoftLink("/node")


def _elsewhere(file: Any) -> None:
    del file["node/nodes/n0/tau"]
    external = [("/etc/hostname", 0, 24)]
    file["node/nodes/n0"].create_dataset("tau", shape=(3,), dtype="f8", external=external)


def _objects(file: Any) -> None:
    del file["node/nodes/n0/tau"]
    file["node/nodes/n0"].create_dataset("tau", (3,), dtype=h5py.ref_dtype)


def _nested(file: Any) -> None:
    file["node/nodes/n0/loop"] = file["node"]


def _unknown(file: Any) -> None:
    del file["node/nodes/n0/type"]
    file["node/nodes/n0/type"] = "System"


def _virtual(file: Any) -> None:
    del file["node/nodes/n0/tau"]
    layout = h5py.VirtualLayout(shape=(3,), dtype="f8")
    layout[:] = h5py.VirtualSource("/etc/hostname", "numbers", shape=(3,))
    file["node/nodes/n0"].create_virtual_dataset("tau", layout)


def _whole_link(file: Any) -> None:
    file.move("node", "other")
    file["node"] = h5py.SoftLink("/other")


def _large_type(file: Any) -> None:
    del file["node/type"]
    file["node"].create_dataset("type", shape=(10**10,), dtype="u1", chunks=(10**6,), compression="gzip")


HOSTILE: dict[str, tuple[Callable[[Any], None], str]] = {
    "terabytes": (_endless, "its arrays take more than"),
    "another file": (_linked, "is a link to somewhere else"),
    "circles": (_in_circles, "is a link to somewhere else"),
    "numbers elsewhere": (_elsewhere, "keeps its numbers in another file"),
    "a part of another file": (_virtual, "keeps its numbers in another file"),
    "all of it elsewhere": (_whole_link, "/node is a link to somewhere else"),
    "a large name": (_large_type, "its arrays take more than"),
    "objects": (_objects, "holds values of type object"),
    "nested in itself": (_nested, "groups lie more than"),
    "unknown type": (_unknown, "cannot be read as a NIR file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_before_they_are_loaded(name: str, path: Path) -> None:
    change, message = HOSTILE[name]
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(NIRError, match=message):
        read(path)


def test_a_limit_can_be_raised(path: Path) -> None:
    with pytest.raises(NIRError, match=r"more than 100 bytes; read\(path, limit=...\) allows more"):
        read(path, limit=100)
