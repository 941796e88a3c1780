"""Run a step over time with jax.lax.scan, and create the state at rest."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

State = TypeVar("State")
Outputs = TypeVar("Outputs")
Tree = TypeVar("Tree")
TupleState = TypeVar("TupleState", bound=NamedTuple)


def scan(
    step: Callable[..., tuple[State, Outputs]],
    state: State,
    xs: Any,
    *,
    params: Mapping[str, Any] | None = None,
    dim: int = 0,
) -> tuple[State, Outputs]:
    """Run a step over every slice of xs along axis dim.

        state[t], output[t] = step(state[t-1], xs[t], **params)        t = 1 .. T

    All half-precision values become float32. The state is carried and returned in float32. Only the outputs are
    rounded, to the promoted dtype of xs.

    Arguments and results are those of ``spikingtorch.functional.scan``, with pytrees of arrays.
    """
    keywords = _lift(dict(params or {}))

    def body(carry: State, x: Any) -> tuple[State, Outputs]:
        return step(carry, x, **keywords)

    time_first = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, dim, 0), _lift(xs))
    final, outputs = jax.lax.scan(body, _lift(state), time_first)
    dtype = jnp.result_type(*jax.tree.leaves(xs))
    return final, jax.tree.map(lambda leaf: jnp.moveaxis(_round(leaf, dtype), 0, dim), outputs)


def zeros_state(state_type: type[TupleState], like: jax.Array) -> TupleState:
    """Return a state of zeros, each in the shape of like, in its dtype or in float32 if that is wider."""
    dtype = jnp.promote_types(jnp.result_type(like, 0.0), jnp.float32)
    return state_type._make(jnp.zeros(jnp.shape(like), dtype) for _ in state_type._fields)


def _is_half(dtype: Any) -> bool:
    return dtype in (jnp.float16, jnp.bfloat16)


def _lift(tree: Tree) -> Tree:
    def lift(leaf: Any) -> Any:
        return jnp.asarray(leaf, jnp.float32) if _is_half(getattr(leaf, "dtype", None)) else leaf

    lifted: Tree = jax.tree.map(lift, tree)
    return lifted


def _round(leaf: jax.Array, dtype: Any) -> jax.Array:
    return leaf.astype(dtype) if _is_half(dtype) and jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
