"""States at rest."""

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

TupleState = TypeVar("TupleState", bound=NamedTuple)


def zeros_state(state_type: type[TupleState], like: jax.Array) -> TupleState:
    """Return a state of zeros, each in the shape of like, in its dtype or in float32 if that is wider."""
    dtype = jnp.promote_types(jnp.result_type(like, 0.0), jnp.float32)
    return state_type._make(jnp.zeros(jnp.shape(like), dtype) for _ in state_type._fields)
