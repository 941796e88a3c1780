"""The two files of a fixture, NAME.nir.gz and NAME.npz, which ``writing.py`` writes; needs numpy and nir, no peer.

NAME.nir.gz is the file as the peer wrote it, which is empty for the most part, compressed. NAME.npz holds

    x          input, shape (T, N, ...)
    at/NODE    what each neuron node of the graph gave for it in the peer's own model, step by step from a fresh state,
               shape (T, N, ...), under its name there; the last is the output
    dt         the step for which the peer's exporter computed time constants; nan where it knows none
    options    JSON: what the peer's model was told and the file does not say
    versions   JSON: the releases that wrote both files
"""

import gzip
import json
import tempfile
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


def names(peer: str) -> list[str]:
    """Return the names of the fixtures that a peer wrote, in order."""
    return sorted(path.stem for path in FOLDER.glob(f"{peer}_*.npz"))


def unpack(name: str, folder: Path) -> Path:
    """Write NAME.nir, as the peer wrote it, into a folder, and return its path."""
    path = folder / f"{name}.nir"
    path.write_bytes(gzip.decompress((FOLDER / f"{name}.nir.gz").read_bytes()))
    return path


def load(name: str) -> Fixture:
    """Return a fixture from its two files; types of nodes are not checked, as some exporters leave them open."""
    with np.load(FOLDER / f"{name}.npz") as file:
        found = {key: file[key] for key in file.files}
    nodes = {key.removeprefix("at/"): value for key, value in found.items() if key.startswith("at/")}
    with tempfile.TemporaryDirectory() as folder:
        graph = nir.read(unpack(name, Path(folder)), type_check=False)
    options, versions = json.loads(str(found["options"])), json.loads(str(found["versions"]))
    return Fixture(graph, found["x"], list(nodes.values())[-1], nodes, float(found["dt"]), options, versions)


def spikes_in(seed: int, shape: tuple[int, ...], rate: float = 0.3, T: int = 50, N: int = 2) -> Array:
    """Return random spikes, shape (T, N, *shape), as float32."""
    drawn = np.random.default_rng(seed).random((T, N, *shape)) < rate
    return drawn.astype(np.float32)
