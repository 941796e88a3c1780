"""The two files of a fixture, NAME.nir.gz and NAME.npz, and how they are written; needs numpy and nir, no peer.

NAME.nir.gz is the file as the peer wrote it, which is empty for the most part, compressed. NAME.npz holds

    x          input, shape (T, N, ...)
    at/NODE    what each neuron node of the graph gave for it in the peer's own model, step by step from a fresh state,
               shape (T, N, ...), under its name there; the last is the output
    dt         the step for which the peer's exporter computed time constants; nan where it knows none
    options    JSON: what the peer's model was told and the file does not say
    versions   JSON: the releases that wrote both files
"""

import gzip
import inspect
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import nir
import numpy as np
import numpy.typing as npt

FOLDER = Path(__file__).parent / "fixtures"
# of the spikes of a layer, over steps, samples and neurons
LEAST, MOST = 0.05, 0.3

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


def save(
    name: str,
    graph: Any,
    x: Array,
    nodes: Mapping[str, Array],
    *,
    dt: float = float("nan"),
    options: Mapping[str, Any] | None = None,
    packages: Iterable[str],
    analog: Iterable[str] = (),
) -> None:
    """Write NAME.nir.gz and NAME.npz after a check that every layer fires, and not all the time.

    Args:
        name: of the fixture.
        graph: what the peer's exporter returned.
        x: input, shape (T, N, ...).
        nodes: outputs of the model's neurons, under the names of their nodes in the graph; the last is that of all.
        dt: the step that the exporter took.
        options: what the model was told and the file does not say.
        packages: distributions whose versions are written down.
        analog: nodes whose output is no spike.
    """
    missing = set(nodes) - set(graph.nodes)
    if missing:
        raise ValueError(f"{name}: no node {missing} in the graph, which has {list(graph.nodes)}")
    rates = {key: float((value != 0).mean()) for key, value in nodes.items() if key not in set(analog)}
    print(f"{name}: {', '.join(f'{key} fires in {rate:.0%} of steps' for key, rate in rates.items())}")
    if not all(LEAST <= rate <= MOST for rate in rates.values()):
        raise ValueError(f"{name}: rates outside of {LEAST:.0%} to {MOST:.0%}; change the scale of its weights")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.nir"
        # numbers without an axis cannot be compressed within HDF5; nir 1.0.4 never does
        plain: dict[str, Any] = (
            {"compression": None} if "compression" in inspect.signature(nir.write).parameters else {}
        )
        nir.write(path, graph, **plain)
        (FOLDER / f"{name}.nir.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    versions = {package: metadata.version(package) for package in (*packages, "nir", "nirtorch", "torch")}
    arrays: dict[str, Any] = {f"at/{key}": value for key, value in nodes.items()}
    np.savez_compressed(
        FOLDER / f"{name}.npz",
        x=x,
        dt=dt,
        options=json.dumps(dict(options or {})),
        versions=json.dumps(versions),
        **arrays,
    )


def spikes_in(seed: int, shape: tuple[int, ...], rate: float = 0.3, T: int = 50, N: int = 2) -> Array:
    """Return random spikes, shape (T, N, *shape), as float32."""
    drawn = np.random.default_rng(seed).random((T, N, *shape)) < rate
    return drawn.astype(np.float32)


def numbers_in(seed: int, shape: tuple[int, ...], T: int = 50, N: int = 2) -> Array:
    """Return normal random numbers, shape (T, N, *shape), as float32."""
    return np.random.default_rng(seed).standard_normal((T, N, *shape)).astype(np.float32)


def balance(weights: Sequence[Any], rates: Callable[[], Sequence[float]], aim: float = 0.15) -> None:
    """Scale weights in place, layer after layer, until each layer fires in about a share ``aim`` of its steps.

    Args:
        weights: one parameter of torch for each layer that fires, in the order of the layers.
        rates: runs the model and returns how often each of these layers fires.
        aim: share of steps.
    """
    for k, weight in enumerate(weights):
        drawn = weight.data.clone()
        misses = {}
        for scale in 2.0 ** np.arange(-5, 5, 0.25):
            weight.data = drawn * float(scale)
            misses[scale] = abs(rates()[k] - aim)
        weight.data = drawn * float(min(misses, key=lambda scale: misses[scale]))
