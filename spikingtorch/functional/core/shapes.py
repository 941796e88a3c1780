"""Shapes: broadcast arguments, and the axis of time."""

from collections.abc import Iterable, Sequence
from typing import Any


def broadcast(shapes: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """Return the shape that all shapes broadcast to; raise ValueError. It is faster than torch's function."""
    shapes = list(shapes)
    result = [1] * max([len(shape) for shape in shapes], default=0)
    for shape in shapes:
        for axis in range(-len(shape), 0):
            if shape[axis] != 1:
                if result[axis] not in (1, shape[axis]):
                    listed = ", ".join(sorted({str(tuple(each)) for each in shapes}))
                    raise ValueError(f"has states, inputs or parameters that do not broadcast, of shapes {listed}")
                result[axis] = shape[axis]
    return tuple(result)


def differ(sizes: Iterable[Any]) -> bool:
    """Return whether sizes differ; those of an exported program are symbols, which have no hash."""
    first, *others = sizes
    return any(size != first for size in others)


def without_time(shape: Sequence[int], dim: int) -> tuple[int, ...]:
    """Return the shape of one step of an array over time, whose axis of time may be counted from the end."""
    sizes = list(shape)
    del sizes[dim]
    return tuple(sizes)


def with_time(shape: Sequence[Any], dim: int, steps: Any) -> tuple[Any, ...]:
    """Return the shape of an array over time, for neurons of a shape."""
    return (*shape[:dim], steps, *shape[dim:])
