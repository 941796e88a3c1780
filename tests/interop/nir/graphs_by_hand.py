"""Graphs of NIR for the tests of its reference, in a few words each."""

from itertools import pairwise
from typing import Any

import nir
import numpy as np

from spikingtorch.interop.nir.reference import Array, Trace, simulate

UNKNOWN: Any = None  # a shape; nir allows None, its annotations do not


def graph(nodes: dict[str, Any], edges: list[tuple[str, str]]) -> nir.NIRGraph:
    """A graph of which nir does not infer the shapes."""
    return nir.NIRGraph(nodes=nodes, edges=edges, type_check=False)


def start(shape: Any = UNKNOWN) -> Any:
    """An Input."""
    return nir.Input(shape)


def end() -> Any:
    """An Output of any shape."""
    return nir.Output(UNKNOWN)


def chain(*nodes: Any) -> nir.NIRGraph:
    """An Input of any shape, the nodes "0", "1", ... one after another, and an Output."""
    names = ["in", *(str(i) for i in range(len(nodes))), "out"]
    named = dict(zip(names, [start(), *nodes, end()], strict=True))
    return graph(named, list(pairwise(names)))


def arrays(**values: float) -> dict[str, Any]:
    """Parameters of one neuron."""
    return {name: np.array([value]) for name, value in values.items()}


def train(*values: float) -> Array:
    """A signal of one neuron in a batch of one: (T, 1, 1)."""
    return np.array(values, dtype=float).reshape(-1, 1, 1)


def run(node: Any, x: Array, dt: float = 1.0, **options: Any) -> Trace:
    return simulate(chain(node), x, dt=dt, **options)


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def close(actual: Array, expected: Any, error: float = 1e-12) -> None:
    np.testing.assert_allclose(actual, expected, rtol=error, atol=error)
