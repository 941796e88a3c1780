"""The two files of a fixture, NAME.nir and NAME.npz, which ``writing.py`` writes; needs numpy and nir, no peer.

Those of a peer lie in one archive, in which what many of them have takes space once. NAME.nir is the file as the peer
wrote it, and NAME.npz holds

    x          input, shape (T, N, ...)
    at/NODE    what each neuron node of the graph gave for it in the peer's own model, step by step from a fresh state,
               shape (T, N, ...), under its name there; the last is the output
    dt         the step for which the peer's exporter computed time constants; nan where it knows none
    options    JSON: what the peer's model was told and the file does not say
    versions   JSON: the releases that wrote both files
"""

import io
import json
import tarfile
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import nir
import numpy as np
import numpy.typing as npt

FOLDER = Path(__file__).parent / "fixtures"

Array = npt.NDArray[Any]


class Fixture(NamedTuple):
    """A graph that a peer wrote, and what the peer's own model makes of an input."""

    graph: Any
    x: Array
    out: Array
    nodes: dict[str, Array]
    dt: float
    options: dict[str, Any]
    versions: dict[str, str]


@cache
def files(archive: str) -> Mapping[str, bytes]:
    """Return the files of an archive of ``FOLDER``, by name."""
    with tarfile.open(FOLDER / f"{archive}.tar.xz") as found:
        members = [(each.name, found.extractfile(each)) for each in found]
        return {name: file.read() for name, file in members if file is not None}


def keep(archive: str, new: Mapping[str, bytes]) -> None:
    """Write files into an archive; others that it has stay."""
    path = FOLDER / f"{archive}.tar.xz"
    every = {**(files(archive) if path.exists() else {}), **new}
    with tarfile.open(path, "w:xz") as found:
        for name in sorted(every):
            entry = tarfile.TarInfo(name)
            entry.size = len(every[name])
            found.addfile(entry, io.BytesIO(every[name]))
    files.cache_clear()


def packed(arrays: Mapping[str, Any]) -> bytes:
    """Return the .npz file of arrays, which the archive compresses."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def arrays(archive: str, name: str) -> dict[str, Array]:
    """Return the arrays of a .npz file in an archive."""
    with np.load(io.BytesIO(files(archive)[f"{name}.npz"])) as file:
        return dict(file)


def names(peer: str) -> list[str]:
    """Return the names of the fixtures that a peer wrote, in order."""
    return sorted(name.removesuffix(".npz") for name in files(peer) if name.endswith(".npz"))


def load(name: str) -> Fixture:
    """Return a fixture from its two files; types of nodes are not checked, as some exporters leave them open."""
    peer = name.partition("_")[0]
    found = arrays(peer, name)
    nodes = {key.removeprefix("at/"): value for key, value in found.items() if key.startswith("at/")}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.nir"
        path.write_bytes(files(peer)[path.name])
        graph = nir.read(path, type_check=False)
    options, versions = json.loads(str(found["options"])), json.loads(str(found["versions"]))
    return Fixture(graph, found["x"], list(nodes.values())[-1], nodes, float(found["dt"]), options, versions)


def spikes_in(seed: int, shape: tuple[int, ...], rate: float = 0.3, T: int = 50, N: int = 2) -> Array:
    """Return random spikes, shape (T, N, *shape), as float32."""
    drawn = np.random.default_rng(seed).random((T, N, *shape)) < rate
    return drawn.astype(np.float32)
