"""Elementwise primitives whose rules hold numbers of their own are compiled, and give what XLA gives."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikingtorch import jax as snn
from tests.jax.oracle import check

ODD = [0.0, -0.0, 1.0, -1.5, 2.5, -2.5, 2147483647.0, 2147483648.0, -2147483648.0, -2147483904.0, 1e20, -1e20]
NUMBERS = jnp.asarray([*ODD, np.inf, -np.inf, np.nan], jnp.float32)[None]
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "exp2": lambda x: jnp.exp2(jnp.clip(x, -20.0, 20.0)),
    "isfinite": lambda x: jnp.where(jnp.isfinite(x), x, 3.0),
    "isfinite, bounded": lambda x: jnp.where(jnp.isfinite(jnp.tanh(x)), x, 3.0),
    "to an integer": lambda x: x.astype(jnp.int32).astype(x.dtype),
    "integer case": lambda x: jax.lax.select_n(jnp.clip(x, 0, 2).astype(jnp.int32), x, -x, 2 * x),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_primitive_is_compiled(name: str) -> None:
    step = lambda _, x: (x, FUNCTIONS[name](x))  # noqa: E731
    assert snn.explain_scan(step, NUMBERS[0], NUMBERS).backend == "fused"
    check(step, NUMBERS[0], NUMBERS)
    with jax.enable_x64(True):
        wide = NUMBERS.astype(jnp.float64)
        assert snn.explain_scan(step, wide[0], wide).backend == "fused"
        check(step, wide[0], wide)
