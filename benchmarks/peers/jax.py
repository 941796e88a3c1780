"""JAX: the same neurons in a jitted ``jax.lax.scan``, written as a user of JAX would."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import peers
from benchmarks.subject import Observation, Subject
from benchmarks.suite import ADAPTIVE, BETA, BOTH, DECAY, FORWARD, THRESHOLD, Case, draw, draw_gradient, draw_weight

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


def adaptive(state: tuple[jax.Array, ...], x: jax.Array) -> tuple[tuple[jax.Array, ...], jax.Array]:
    """Advance the neuron of ``neurons.adaptive``."""
    v, a, i = state
    i = ADAPTIVE["decay_i"] * i + x
    u = ADAPTIVE["decay_v"] * v + (1.0 - ADAPTIVE["decay_v"]) * i
    s = spike(u - THRESHOLD - a)
    return ((1.0 - s) * u, ADAPTIVE["decay_a"] * a + ADAPTIVE["jump"] * s, i), s


def recurrent(weight: jax.Array) -> Step:
    """Return the step of a LIF neuron whose spikes come back to it through weights."""

    def step(state: tuple[jax.Array, jax.Array], x: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        v, s = lif(state[0], x + state[1] @ weight.T)
        return (v, s), s

    return step


# from the weights, if there are any, to the step; and the number of states, none for one that stands by itself
NEURONS: dict[str, tuple[Callable[..., Step], int]] = {"lif": (lambda: lif, 0), "adaptive": (lambda: adaptive, 3)}
NEURONS["recurrent"] = recurrent, 2


def subject(case: Case, backend: str, plain: bool = False) -> Subject:
    """Return what a case is about, or our own loop, which computes the same."""
    if plain:
        return peers.subject(case._replace(contestant="spikingtorch, loop"), backend)
    make, states = NEURONS[case.model]
    weights = [draw_weight(case.size.N)] if case.model == "recurrent" else []
    leaves, gradient = (
        [jnp.asarray(each) for each in (draw(case.size), *weights)],
        jnp.asarray(draw_gradient(case.size)),
    )

    def run(x: jax.Array, *weights: jax.Array) -> jax.Array:
        zeros = jnp.zeros(x.shape[1:])
        # unroll=1: on a CPU, unrolling the loop by 4 or by 16 makes it two to seven times slower
        return jax.lax.scan(make(*weights), (zeros,) * states or zeros, x)[1]

    def run_and_pull(gradient: jax.Array, *leaves: jax.Array) -> tuple[jax.Array, ...]:
        spikes, pull = jax.vjp(run, *leaves)
        return spikes, *pull(gradient)

    forward, both = jax.jit(run), jax.jit(run_and_pull)
    wait: Callable[[Any], object] = jax.block_until_ready

    def observe(kept: Any) -> Observation:
        spikes, *gradients = map(np.asarray, both(gradient if kept is None else gradient * kept, *leaves))
        return spikes, gradients

    return Subject({FORWARD: lambda: wait(forward(*leaves)), BOTH: lambda: wait(both(gradient, *leaves))}, observe)
