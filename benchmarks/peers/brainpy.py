"""BrainPy: its LIF on BrainState's ``for_loop``, with the sigmoid of braintools as its surrogate."""

import importlib
from typing import Any

import jax
from brainstate import environ, transform
from braintools import surrogate
from braintools.init import Constant

from benchmarks.peers.jax import Library, Run, spike
from benchmarks.suite import BETA, DECAY, TAU, THRESHOLD, Size

# by name, because a type checker that does not find the library takes this file for it
NAME = "brainpy"
brainpy: Any = importlib.import_module(NAME)


def lif(size: Size) -> Run:
    """Return its LIF over time, without units."""
    options: dict[str, Any] = {"R": 1.0, "tau": TAU, "V_th": THRESHOLD, "V_reset": 0.0, "V_rest": 0.0}
    options |= {"spk_fun": surrogate.Sigmoid(BETA), "spk_reset": "hard", "V_initializer": Constant(0.0)}

    def run(xs: jax.Array) -> jax.Array:
        with environ.context(dt=1.0):
            neuron = brainpy.state.LIF(size.N, **options)
            neuron.init_state(size.B)
            spikes: jax.Array = transform.for_loop(neuron.update, xs)
        return spikes

    return run


def documented(v: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Advance LIF that subtracts its membrane after a spike; no gradient flows through what it subtracts."""
    u = DECAY * (v - jax.lax.stop_gradient(v) * spike(v - THRESHOLD)) + x
    return u, spike(u - THRESHOLD)


LIBRARY = Library({NAME: lif}, documented, gain=1.0 - DECAY)
