"""Graphs of NIR as others write them: without metadata."""

import itertools
from typing import Any

import nir
import numpy as np

Array = np.ndarray[Any, Any]


def lif(n: int = 3, tau: float | Array = 1e-3, **changes: Any) -> nir.LIF:
    """Return LIF neurons."""
    numbers: dict[str, Any] = {"tau": tau, "r": 1.0, "v_leak": 0.0, "v_threshold": 0.5, "v_reset": 0.0}
    arrays: dict[str, Any] = {name: np.full(n, value) for name, value in numbers.items()}
    return nir.LIF(**(arrays | changes))


def affine(outputs: int, inputs: int, seed: int = 0) -> nir.Affine:
    """Return weights that make neurons fire."""
    rng = np.random.default_rng(seed)
    return nir.Affine(weight=rng.normal(0.5, 1.0, (outputs, inputs)), bias=rng.uniform(0.0, 0.2, outputs))


def graph(nodes: dict[str, Any], edges: list[tuple[str, str]], shape: tuple[int, ...] = (3,), out: int = 3) -> Any:
    """Return a graph with an input and an output."""
    ends = {"input": nir.Input({"input": np.array(shape)}), "output": nir.Output({"output": np.array([out])})}
    return nir.NIRGraph({**ends, **nodes}, edges, type_check=False)


def chain(*nodes: Any, shape: tuple[int, ...] = (3,), out: int = 3) -> Any:
    """Return nodes in a row."""
    names = [f"n{place}" for place in range(len(nodes))]
    path = ["input", *names, "output"]
    return graph(dict(zip(names, nodes, strict=True)), list(itertools.pairwise(path)), shape, out)


def cyclic() -> dict[str, Any]:
    """Return graphs with cycles, by what is special about them."""
    weights = {"w1": affine(3, 3, 1), "w2": affine(3, 3, 2), "back": affine(3, 3, 3)}
    two = {"a": lif(), "b": lif(tau=5e-4)}
    return {
        "itself": graph({"a": lif()}, [("input", "a"), ("a", "a"), ("a", "output")]),
        "itself through weights": graph(
            {"a": lif(), "w": nir.Linear(weight=0.2 * np.eye(3) - 0.1)},
            [("input", "a"), ("a", "w"), ("w", "a"), ("a", "output")],
        ),
        "itself through a bias": graph(
            {"a": lif(), "w": affine(3, 3)}, [("input", "a"), ("a", "w"), ("w", "a"), ("a", "output")]
        ),
        "each by itself": graph(
            {"a": lif(), "w": nir.Scale(scale=np.array([0.1, -0.2, 0.3]))},
            [("input", "a"), ("a", "w"), ("w", "a"), ("a", "output")],
        ),
        "two layers": graph(
            {**two, **weights},
            [("input", "w1"), ("w1", "a"), ("a", "w2"), ("w2", "b"), ("b", "back"), ("back", "a"), ("b", "output")],
        ),
        "shared": graph({"w": affine(3, 3), "a": lif()}, [("input", "w"), ("w", "a"), ("a", "w"), ("a", "output")]),
        "each other": graph(
            {**two, "ab": nir.Linear(weight=-np.eye(3)), "ba": nir.Linear(weight=-0.5 * np.eye(3))},
            [("input", "a"), ("input", "b"), ("a", "ab"), ("ab", "b"), ("b", "ba"), ("ba", "a"), ("b", "output")],
        ),
        "a delay in the way back": graph(
            {"a": lif(), "d": nir.Delay(delay=np.array([0.0, 1e-4, 3e-4]))},
            [("input", "a"), ("a", "d"), ("d", "a"), ("a", "output")],
        ),
    }
