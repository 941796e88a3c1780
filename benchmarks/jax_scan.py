"""The same neurons in a jitted ``jax.lax.scan``, written as a user of JAX would."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.case import Size
from benchmarks.inputs import ADAPTIVE, BETA, DECAY, THRESHOLD, Array, draw, draw_weight
from benchmarks.subject import Observation, Subject
from benchmarks.workloads import RECURRENT

Step = Callable[[Any, jax.Array], tuple[Any, jax.Array]]


@jax.custom_jvp
def spike(u: jax.Array) -> jax.Array:
    """Return H(u); its derivative is that of a sigmoid of slope BETA."""
    return (u >= 0).astype(u.dtype)


@spike.defjvp
def _spike_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (u,), (du,) = primals, tangents
    phi = jax.nn.sigmoid(BETA * u)
    return spike(u), BETA * phi * (1.0 - phi) * du


def lif(v: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Advance the LIF neuron of the comparison."""
    u = DECAY * v + x
    s = spike(u - THRESHOLD)
    return (1.0 - s) * u, s


def adaptive(
    state: tuple[jax.Array, jax.Array, jax.Array], x: jax.Array
) -> tuple[tuple[jax.Array, jax.Array, jax.Array], jax.Array]:
    """Advance the neuron of ``neurons.adaptive_step``."""
    v, a, i = state
    i = ADAPTIVE["decay_i"] * i + x
    u = ADAPTIVE["decay_v"] * v + (1.0 - ADAPTIVE["decay_v"]) * i
    s = spike(u - THRESHOLD - a)
    return ((1.0 - s) * u, ADAPTIVE["decay_a"] * a + ADAPTIVE["jump"] * s, i), s


def recurrent(weight: jax.Array) -> Step:
    """Return the step of a LIF neuron whose spikes come back to it through weights."""

    def step(state: tuple[jax.Array, jax.Array], x: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        v, s = state
        v, s = lif(v, x + s @ weight.T)
        return (v, s), s

    return step


# from the weights, if there are any, to the step; and the number of states
_NEURONS: dict[str, tuple[Callable[..., Step], int]] = {
    "lif": (lambda: lif, 1),
    "adaptive": (lambda: adaptive, 3),
    RECURRENT: (recurrent, 2),
}


def neuron(name: str, size: Size) -> Subject:
    """Return the LIF neuron, the recurrent one or the adaptive one."""
    make, states = _NEURONS[name]
    (drawn,), drawn_cotangent = draw(size)
    weights = [draw_weight(size.N)] if name == RECURRENT else []
    leaves, cotangent = [jnp.asarray(array) for array in (drawn, *weights)], jnp.asarray(drawn_cotangent)

    def run(x: jax.Array, *weights: jax.Array) -> jax.Array:
        zeros = jnp.zeros(x.shape[1:])
        # unroll=1: on a CPU, unrolling the loop by 4 or by 16 makes it two to seven times slower
        return jax.lax.scan(make(*weights), zeros if states == 1 else (zeros,) * states, x)[1]

    def run_and_pull(cotangent: jax.Array, *leaves: jax.Array) -> tuple[jax.Array, ...]:
        spikes, pull = jax.vjp(run, *leaves)
        return spikes, *pull(cotangent)

    forward, both = jax.jit(run), jax.jit(run_and_pull)

    def observe(kept: Array | None = None) -> Observation:
        found = both(cotangent if kept is None else cotangent * kept, *leaves)
        spikes, *gradients = map(np.asarray, found)
        return Observation(spikes, tuple(gradients))

    return Subject(
        forward=lambda: forward(*leaves).block_until_ready(),
        both=lambda: [array.block_until_ready() for array in both(cotangent, *leaves)],
        observe=observe,
    )
