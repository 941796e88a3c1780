"""Common parts of the reference's nodes: steps of time, cells, and parameters as arrays."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Shape = tuple[int, ...]


class Grid(NamedTuple):
    """Steps of ``dt``, each in ``refine`` equal parts; the method that solves a part, and the builder of nodes."""

    dt: float
    discretisation: str
    refine: int
    build: "Build"

    @property
    def part(self) -> float:
        """The length of a part, in the unit of dt."""
        return self.dt / self.refine


class Given(NamedTuple):
    """The output of a node in a step and, if it has a threshold, the membrane there: both (N, *shape)."""

    value: Array
    membrane: Array | None = None


Cell = Callable[[Array], Given]
Build = Callable[[Any, Shape, Grid], Cell]
Equation = Callable[[Array, Array, Array], tuple[Array, Array]]  # (I, v, what arrives) -> (I, v), one part later


def array_of(node: Any, name: str, shape: Shape) -> Array:
    """Return a parameter in float64, broadcast to ``shape``."""
    given = getattr(node, name)
    value = np.asarray(0.0 if given is None and name == "v_reset" else given, dtype=np.float64)
    try:
        return np.broadcast_to(value, shape)
    except ValueError:
        raise ValueError(f"{name} of shape {value.shape} does not broadcast to {shape}") from None
