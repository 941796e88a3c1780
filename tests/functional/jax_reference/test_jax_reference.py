"""The twin by itself, as a JAX user has it: under jit, grad and vmap, in every precision."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from spikingtorch.functional import jax_reference as J
from spikingtorch.interop import to_jax
from spikingtorch.verification.cases import CASES, SURROGATES, Case, by_name


def total(case: Case, xs: Any, params: Any) -> Any:
    state = to_jax(case.initial(case.draw(1)[0]))
    final, out = J.scan(case.twin, jax.tree.map(lambda leaf: leaf.astype(jnp.float64), state), xs, params=params)
    states = sum(leaf.sum() for leaf in jax.tree.leaves(final))
    return (out * jnp.cos(jnp.arange(out.size).reshape(out.shape))).sum() + states


@pytest.mark.sampled
@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_jit_grad_and_vmap(case: Case) -> None:
    plain = jax.grad(lambda xs, params: total(case, xs, params), (0, 1))
    with jax.enable_x64(True):
        xs, params = to_jax(case.draw(17))
        batch = jax.tree.map(lambda leaf: jnp.stack([leaf, 0.5 * leaf]), xs)
        mapped_plain = jax.jit(jax.vmap(plain, (0, None)))
        trees = plain(xs, params), jax.jit(plain)(xs, params), mapped_plain(batch, params)
        assert any(jnp.abs(leaf).sum() > 0 for leaf in jax.tree.leaves(trees[0]))
        for want, jitted, mapped in zip(*map(jax.tree.leaves, trees), strict=True):
            scale = 1e-12 * jnp.abs(want).max()
            assert jnp.allclose(jitted, want, rtol=0, atol=scale)
            assert jnp.allclose(mapped[0], want, rtol=0, atol=scale)


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
