"""jaxpike: its LIF through ``unroll``, with our surrogate as a relaxation of its own."""

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from benchmarks.peers.jax import Library, Run, lif
from benchmarks.suite import BETA, DECAY, TAU, THRESHOLD, Size

# by name, because a type checker that does not find the library takes this file for it
NAME = "jaxpike"
jaxpike: Any = importlib.import_module(NAME)


class Logistic(jaxpike.Surrogate):  # type: ignore[misc]
    """Differentiates a spike as a sigmoid of slope BETA."""

    def relaxation(self, v: jax.Array) -> jax.Array:
        """Return the sigmoid."""
        return jax.nn.sigmoid(BETA * v)


def unrolled(_: Size, **options: Any) -> Run:
    """Return its LIF over time."""
    neuron = jaxpike.LIF(TAU, threshold=THRESHOLD, reset="zero", surrogate=Logistic())
    return lambda xs: jaxpike.unroll(neuron, xs, **options)[0]


RUNS: dict[str, Callable[[Size], Run]] = {
    NAME: unrolled,
    f"{NAME}, scan_unroll=1": partial(unrolled, scan_unroll=1),
    f"{NAME}, scan_unroll=1, remat": partial(unrolled, scan_unroll=1, remat_step=True),
}
LIBRARY = Library(RUNS, lif, gain=1.0 - DECAY)
