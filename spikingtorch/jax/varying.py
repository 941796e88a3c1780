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
    whole = _whole(aval.sharding.mesh, len(shape))
    found: ShapedArray = aval.update(shape=shape, dtype=dtype, weak_type=False, sharding=whole)
    return found


def _gathered(array: jax.Array) -> jax.Array:
    own = jax.typeof(array).sharding
    if all(axis is None for axis in own.spec):
        return array
    sharding: Any = jax.sharding
    found: jax.Array = sharding.reshard(array, _whole(own.mesh, array.ndim))
    return found


def _whole(mesh: Any, rank: int) -> NamedSharding:
    """Return the sharding of an array that is whole on each device."""
    spec: Any = PartitionSpec
    return NamedSharding(mesh, spec(*[None] * rank))


def _varying(aval: Any) -> frozenset[Any]:
    # the name of the attribute has changed in JAX 0.9
    found: frozenset[Any] = aval.vma if hasattr(aval, "vma") else aval.mat.varying
    return found


def _marked(array: jax.Array, axes: tuple[Any, ...]) -> jax.Array:
    lax: Any = jax.lax  # the name has changed in JAX 0.9, too
    found: jax.Array = lax.pcast(array, axes, to="varying") if hasattr(lax, "pcast") else lax.pvary(array, axes)
    return found
