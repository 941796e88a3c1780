"""A step for samples that end at different times."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Masked(NamedTuple):
    """state[t], out[t] = step(state[t-1], x[t]) where running[t], and state[t-1], 0 elsewhere."""

    step: Callable[..., Any]

    def __call__(self, state: Any, x: Any, **params: Any) -> Any:
        """Advance one step; x is a pair, the inputs and which samples are running."""
        inputs, running = x
        after, out = self.step(state, inputs, **params)
        held = jax.tree.map(lambda new, old: jnp.where(running, new, old), after, state)
        return held, jax.tree.map(lambda each: jnp.where(running, each, 0.0), out)
