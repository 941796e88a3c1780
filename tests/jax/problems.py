"""What transformations of JAX are tried on: neurons, in a dtype, a layout and a form of their parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikingtorch.verification.cases import CASES
from tests.jax.neurons import draw
from tests.jax.oracle import Scan, cotangents, weighted


class Problem:
    """A neuron, and its arguments: those that it is called with, and batches of them."""

    def __init__(self, name: str, dtype: str, form: str, layout: str = "(T, B, N)", T: int = 5) -> None:
        self.case = next(case for case in CASES if case.name == name)
        self.draws = [draw(self.case, T, layout, form, seed) for seed in range(6)]
        self.dtype, self.dim = dtype, self.draws[0].dim
        self.given = self.arguments(0)

    def arguments(self, member: int) -> Any:
        return self.draws[member].arguments(self.dtype)

    def stacked(self, axes: Any, count: int = 3, first: int = 0) -> Any:
        """Return the arguments with several of each that has an axis, stacked along it."""
        members = [self.arguments(first + k) for k in range(count)]
        stack = jax.tree.map(lambda *each: np.stack(each), *members)
        return tuple(
            given if axis is None else jax.tree.map(lambda leaf, axis=axis: jnp.moveaxis(leaf, 0, axis), found)
            for given, found, axis in zip(self.given, stack, axes, strict=True)
        )

    def values(self, scan: Scan) -> Callable[..., Any]:
        return lambda state, xs, params: scan(self.case.twin, state, xs, params=params, dim=self.dim)

    def loss(self, scan: Scan) -> Callable[..., Any]:
        return lambda *given: weighted(self.values(scan)(*given))


ALL = (0, 1, 2)
Transform = Callable[[Problem, Scan], Any]


def tangents(p: Problem) -> Any:
    return cotangents(p.given, 5)


class Kind(NamedTuple):
    """What is transformed: a neuron, a dtype, a form of the parameters."""

    neuron: str
    dtype: str = "float64"
    form: str = "mixed"
    layout: str = "(T, B, N)"


KINDS = [
    Kind("lif", "float64", "number"),
    Kind("lif", "float32", "per neuron", "(B, T, N)"),
    Kind("alif", "float64", "mixed"),
    Kind("coarse_lif", "float64", "per channel", "(B, N, T)"),
    Kind("mcpitts", "float64", "0-d"),
    Kind("biolif", "float64", "full"),
    Kind("adex", "float64", "per neuron", "(T, N)"),
    Kind("cuba_lif", "float64", "0-d", "(T,)"),
    Kind("delay", "float64", "per neuron"),
]


def paired(names: dict[str, Transform], count: int) -> list[Any]:
    """Return each transformation with some of the neurons, each neuron with as many."""
    table = [(name, KINDS[(5 * row + k) % len(KINDS)]) for row, name in enumerate(names) for k in range(count)]
    return [pytest.param(kind, name, id=f"{name}-{'-'.join(kind)}") for name, kind in table]
