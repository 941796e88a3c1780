"""Apply a function without a state over time."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax

Out = TypeVar("Out")


def time_map(function: Callable[..., Out], xs: Any, *, dim: int = 0) -> Out:
    """Apply a function that has no state to every step of a sequence, all steps at once: ``jax.vmap`` over time.

        out[t] = function(x[t])

    A function that draws random numbers takes a key for each step, ``time_map(function, (xs, keys))``.

    Args:
        function: maps one step of inputs, an array or a tree of them.
        xs: arrays with time along dim, or a tree of them.
        dim: the axis of time, in xs and in the outputs.

    >>> import jax.numpy as jnp
    >>> time_map(lambda x: x @ jnp.ones((4, 2)), jnp.ones((8, 32, 4))).shape  # 8 steps of 32 samples
    (8, 32, 2)
    """
    mapped: Callable[[Any], Out] = jax.vmap(function, in_axes=dim, out_axes=dim)
    return mapped(xs)
