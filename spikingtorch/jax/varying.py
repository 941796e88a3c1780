"""Arrays of several devices: inside of ``jax.shard_map`` they differ, outside of it they may be in parts."""

from collections.abc import Sequence
from typing import Any

import jax
from jax.core import ShapedArray
from jax.sharding import NamedSharding, PartitionSpec


def unified(arrays: Sequence[jax.Array]) -> list[jax.Array]:
    """Return arrays that all differ over the same axes of a mesh, as a primitive of several operands needs them.

    An array that is the same on each device is marked as one that differs. The gradient of the mark is the sum over the
    devices. Arrays whose type says that devices hold parts of them are gathered.
    """
    arrays = [*map(_gathered, arrays)]
    names = [_varying(jax.typeof(array)) for array in arrays]
    every = frozenset[Any]().union(*names)
    return [_marked(x, tuple(every - own)) if every - own else x for x, own in zip(arrays, names, strict=True)]


def aval_like(aval: Any, shape: tuple[int, ...], dtype: Any) -> ShapedArray:
    """Return the type of a result that differs over the axes over which an operand of this type does."""
    replicated = NamedSharding(aval.sharding.mesh, PartitionSpec(*[None] * len(shape)))
    return aval.update(shape=shape, dtype=dtype, weak_type=False, sharding=replicated)


def _gathered(array: jax.Array) -> jax.Array:
    own = jax.typeof(array).sharding
    if all(axis is None for axis in own.spec):
        return array
    return jax.sharding.reshard(array, NamedSharding(own.mesh, PartitionSpec(*[None] * array.ndim)))


def _varying(aval: Any) -> frozenset[Any]:
    # the name of the attribute has changed in JAX 0.9
    return aval.vma if hasattr(aval, "vma") else aval.mat.varying


def _marked(array: jax.Array, axes: tuple[Any, ...]) -> jax.Array:
    if hasattr(jax.lax, "pcast"):
        return jax.lax.pcast(array, axes, to="varying")
    return jax.lax.pvary(array, axes)
