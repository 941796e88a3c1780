"""Programs for other platforms than the CPU hold lax.scan, and say so; and scans that JAX does not compile."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikingtorch import jax as snn
from spikingtorch.jax import primitives
from spikingtorch.jax.handler import TARGET

X = np.linspace(-0.5, 1.5, 8 * 3 * 20, dtype=np.float32).reshape(8, 3, 20)


def value_and_gradient(xs: Any, decay: Any) -> Any:
    def loss(xs: Any, decay: Any) -> Any:
        state = snn.LIFState(v=jnp.zeros(xs.shape[1:]))
        final, spikes = snn.scan(snn.lif_step, state, xs, params={"decay": decay})
        return (spikes * xs).sum() + (final.v**2).sum()

    return jax.value_and_grad(loss, (0, 1))(xs, decay)


def test_a_program_for_gpus_calls_no_kernel() -> None:
    primitives.warn_once.cache_clear()
    with pytest.warns(RuntimeWarning, match="On cuda and tpu, jax.lax.scan runs") as seen:
        exported = jax.export.export(jax.jit(value_and_gradient), platforms=["cuda", "tpu"])(X, 0.9)
    text = exported.mlir_module()
    assert TARGET not in text
    assert "stablehlo.while" in text
    assert {each.filename for each in seen} == {__file__}


def test_a_program_for_several_platforms_runs_here() -> None:
    primitives.warn_once.cache_clear()
    known = [jax.export.DisabledSafetyCheck.custom_call(TARGET)]
    with pytest.warns(RuntimeWarning, match="On cuda, jax.lax.scan runs"):
        exported = jax.export.export(jax.jit(value_and_gradient), platforms=["cpu", "cuda"], disabled_checks=known)(
            X, 0.9
        )
    call: Any = exported.call
    got, want = call(X, 0.9), jax.jit(value_and_gradient)(X, 0.9)
    jax.tree.map(np.testing.assert_array_equal, got, want)


def test_without_jit() -> None:
    with jax.disable_jit():
        got = value_and_gradient(X, 0.9)
    jax.tree.map(np.testing.assert_array_equal, got, value_and_gradient(X, 0.9))
