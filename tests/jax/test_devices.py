"""A scan whose samples are split over several devices of the host, in a process of its own."""

import subprocess
import sys
import textwrap

import pytest

SHARDED = """
    import os
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
    import jax
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
    from tests.jax.oracle import assert_same, on, plain, weighted
    from tests.jax.problems import Problem

    jax.config.update("jax_enable_x64", True)
    assert jax.device_count() == 4
    problem = Problem("alif", "float64", "per neuron", "(T, C, N)")
    state, xs, params = jax.tree.map(np.asarray, problem.given)
    # of the shapes (C, 1, N) and (T, C, 1, N): several C
    state, xs = jax.tree.map(lambda leaf: np.concatenate([leaf, leaf * 0.9, leaf * 0.8, leaf], -3), (state, xs))
    mesh = Mesh(np.array(jax.devices()), ("many",))
    specs = (P("many"), P(None, "many"), P())

    def outputs(scan):
        run = jax.shard_map(problem.values(scan), mesh=mesh, in_specs=specs, out_specs=(P("many"), P(None, "many")))
        return jax.jit(run)(state, xs, params)

    def gradients(scan):
        def local(state, xs, params):
            return jax.lax.psum(weighted(problem.values(scan)(state, xs, params)), "many")
        total = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=P())
        return jax.jit(jax.grad(total, (0, 1, 2)))(state, xs, params)

    def placed(scan):
        put = [jax.tree.map(lambda leaf: jax.device_put(leaf, NamedSharding(mesh, spec)), tree)
               for tree, spec in zip((state, xs, params), specs)]
        def total(*given):
            return weighted(problem.values(scan)(*given))
        return jax.jit(problem.values(scan))(*put), jax.jit(jax.grad(total, (0, 1, 2)))(*put)

    for run in (outputs, gradients, placed):
        assert_same(run(on("auto")), run(plain))
        print(run.__name__)
"""


@pytest.mark.long
def test_several_host_devices() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SHARDED)], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["outputs", "gradients", "placed"]
