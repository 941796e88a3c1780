"""Backward passes that users wrote, which sum over neurons as no vjp of JAX does: right, or left to lax.scan."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from tests.jax.inputs import QUIET, XS, V
from tests.jax.oracle import check

pytestmark = pytest.mark.sampled

# gradients of a number that all neurons share, from what comes for each of them
OF_SHARED: dict[str, Callable[[Any], Any]] = {
    "of a constant over an axis": lambda g: jnp.ones(g.shape[-1]).sum(),
    "of one constant": lambda g: jnp.ones(1).sum(),
    "of a constant over all": lambda g: jnp.ones(g.shape).sum(),
    "times the number of neurons": lambda g: jnp.ones(g.shape).sum() * g.sum(),
    "as a bool": lambda g: g.sum().astype(bool).astype(g.dtype),
    "of a count, as a bool": lambda g: jnp.sum(g > 0, dtype=jnp.int32).astype(bool).astype(g.dtype),
    "of a count": lambda g: (g > 0).astype(jnp.int32).sum().astype(g.dtype),
    "largest": lambda g: g.max(),
    "mean": lambda g: g.mean(),
}


@QUIET
@pytest.mark.parametrize("name", OF_SHARED)
def test_a_sum_of_ones_own(name: str) -> None:
    @jax.custom_vjp
    def scaled(x: Any, p: Any) -> Any:
        return x * p

    scaled.defvjp(lambda x, p: (x * p, p), lambda p, g: (g * p, OF_SHARED[name](g)))

    def step(v: Any, x: Any, *, p: Any) -> Any:
        u = 0.5 * jnp.tanh(v) + scaled(x, p)
        return u, u

    check(step, V, XS, {"p": jnp.asarray(0.7)})
