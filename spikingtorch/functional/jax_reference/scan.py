"""Run a step over time with jax.lax.scan, create the state at rest, and reset part of a batch."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp

State = TypeVar("State")
Outputs = TypeVar("Outputs")
Tree = TypeVar("Tree")
TupleState = TypeVar("TupleState", bound=NamedTuple)
Step: TypeAlias = Callable[..., tuple[State, Outputs]]


def scan(
    step: Step[State, Outputs], state: State, xs: Any, *, params: Mapping[str, Any] | None = None, dim: int = 0
) -> tuple[State, Outputs]:
    """Run a step over every slice of xs along axis dim.

        state[t], output[t] = step(state[t-1], xs[t], **params)        t = 1 .. T

    All half-precision values become float32. The state is carried and returned in float32. Only the outputs are
    rounded, to the promoted dtype of xs.

    Arguments and results are those of ``spikingtorch.functional.scan``, with pytrees of arrays.
    """
    keywords = lift(dict(params or {}))

    def body(carry: State, x: Any) -> tuple[State, Outputs]:
        return step(carry, x, **keywords)

    time_first = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, dim, 0), lift(xs))
    final, outputs = jax.lax.scan(body, lift(state), time_first)
    numbers = [leaf for leaf in jax.tree.leaves(xs) if not jnp.issubdtype(leaf.dtype, jax.dtypes.extended)]
    dtype = jnp.result_type(*numbers)
    return final, jax.tree.map(lambda leaf: jnp.moveaxis(_round(leaf, dtype), 0, dim), outputs)


def zeros(like: jax.Array) -> jax.Array:
    """Return zeros in the shape of like, in its dtype or in float32 if that is wider."""
    return jnp.zeros(jnp.shape(like), jnp.promote_types(jnp.result_type(like, 0.0), jnp.float32))


def zeros_state(state_type: type[TupleState], like: jax.Array) -> TupleState:
    """Return a state of zeros, each in the shape of like, in its dtype or in float32 if that is wider."""
    return state_type._make(zeros(like) for _ in state_type._fields)


def reset_where(mask: jax.Array, state: Tree, rest: Tree | None = None) -> Tree:
    """Return the state with some samples at rest.

        state[n] = rest[n] where mask[n], and state[n] elsewhere

    Args:
        mask: bool, shape (N,), true for a sample that starts again.
        state: arrays of shape (N, ...).
        rest: the state at rest; zeros by default.
    """

    def chosen(leaf: jax.Array, at_rest: jax.Array) -> jax.Array:
        samples = jnp.expand_dims(mask, range(1, jnp.ndim(leaf)))
        return jnp.where(samples, at_rest, leaf)

    found: Tree = jax.tree.map(chosen, state, jax.tree.map(jnp.zeros_like, state) if rest is None else rest)
    return found


def time_map(function: Callable[..., Outputs], xs: Any, *, dim: int = 0) -> Outputs:
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
    mapped: Callable[[Any], Outputs] = jax.vmap(function, in_axes=dim, out_axes=dim)
    return mapped(xs)


def lift(tree: Tree) -> Tree:
    """Return the tree with float32 in place of float16 and bfloat16 arrays, and all else unchanged."""

    def widened(leaf: Any) -> Any:
        return jnp.asarray(leaf, jnp.float32) if _is_half(getattr(leaf, "dtype", None)) else leaf

    lifted: Tree = jax.tree.map(widened, tree)
    return lifted


def _is_half(dtype: Any) -> bool:
    return dtype in (jnp.float16, jnp.bfloat16)


def _round(leaf: jax.Array, dtype: Any) -> jax.Array:
    return leaf.astype(dtype) if _is_half(dtype) and jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
