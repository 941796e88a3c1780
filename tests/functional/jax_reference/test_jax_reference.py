"""The twin by itself, as a JAX user has it, in every precision; tests/jax has it under jit, grad and vmap."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from spikingtorch.interop import to_jax
from spikingtorch.verification.cases import SURROGATES, by_name


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64])
@pytest.mark.parametrize("surrogate", to_jax(SURROGATES), ids=by_name)
def test_no_overflow(surrogate: Any, dtype: Any) -> None:
    with jax.enable_x64(True):
        u = jnp.array([-1e4, -1e2, 0.0, 1e2, 1e4], dtype)
        assert surrogate(u).tolist() == [0, 0, 1, 1, 1]
        assert surrogate(u).dtype == surrogate.derivative(u).dtype == dtype
        slope = jax.vmap(jax.grad(lambda u: surrogate(u).astype(jnp.float32)))(u)
        assert jnp.isfinite(slope).all()
        assert slope[2] > 0


def test_importing_it_changes_no_configuration() -> None:
    """Here it has been imported, and everything sets float64 for a while alone."""
    assert not jax.config.values["jax_enable_x64"]
