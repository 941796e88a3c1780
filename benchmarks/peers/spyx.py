"""Spyx: its LIF in the ``lax.scan`` of ``spyx.nn.run``, with our surrogate."""

import importlib
from typing import Any

import jax
from flax import nnx

from benchmarks.peers.jax import Library, Run, spike
from benchmarks.suite import BETA, DECAY, THRESHOLD, Size

# by name, because a type checker that does not find the library takes this file for it
NAME = "spyx"
axn: Any = importlib.import_module(f"{NAME}.axn")
nn: Any = importlib.import_module(f"{NAME}.nn")


def slope(u: jax.Array) -> jax.Array:
    """Return the derivative of a sigmoid of slope BETA."""
    phi = jax.nn.sigmoid(BETA * u)
    return BETA * phi * (1.0 - phi)


def lif(size: Size) -> Run:
    """Return its LIF over time."""
    neuron = nn.LIF((size.N,), beta=DECAY, threshold=THRESHOLD, activation=axn.custom(slope), rngs=nnx.Rngs(0))
    return lambda xs: nn.run(neuron, xs)[0]


def documented(v: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Advance LIF whose spike, and the subtraction of the threshold, come a step later."""
    s = spike(v - THRESHOLD)
    return DECAY * v + x - THRESHOLD * s, s


LIBRARY = Library({NAME: lif}, documented)
