"""JAX: the same neurons in a jitted ``jax.lax.scan``, as a user would write them, and by ``spikingtorch.jax``."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import jax_training, peers, suite
from benchmarks.subject import Observation, Subject
from spikingtorch import jax as snn

Run = Callable[..., jax.Array]
Step = Callable[[Any, jax.Array], tuple[Any, jax.Array]]


@jax.custom_jvp
def spike(u: jax.Array) -> jax.Array:
    """Return H(u); its derivative is that of a sigmoid of slope BETA."""
    return (u >= 0).astype(u.dtype)


@spike.defjvp
def _spike_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (u,), (du,) = primals, tangents
    phi = jax.nn.sigmoid(suite.BETA * u)
    return spike(u), suite.BETA * phi * (1.0 - phi) * du


def lif(v: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Advance the LIF neuron of the comparison."""
    u = suite.DECAY * v + x
    s = spike(u - suite.THRESHOLD)
    return (1.0 - s) * u, s


def adaptive(state: tuple[jax.Array, ...], x: jax.Array) -> tuple[tuple[jax.Array, ...], jax.Array]:
    """Advance the neuron of ``neurons.adaptive``."""
    v, a, i = state
    i = suite.ADAPTIVE["decay_i"] * i + x
    u = suite.ADAPTIVE["decay_v"] * v + (1.0 - suite.ADAPTIVE["decay_v"]) * i
    s = spike(u - suite.THRESHOLD - a)
    return ((1.0 - s) * u, suite.ADAPTIVE["decay_a"] * a + suite.ADAPTIVE["jump"] * s, i), s


def recurrent(weight: jax.Array) -> Step:
    """Return the step of a LIF neuron whose spikes come back to it through weights."""

    def step(state: tuple[jax.Array, jax.Array], x: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        v, s = lif(state[0], x + state[1] @ weight.T)
        return (v, s), s

    return step


# from the weights, if there are any, to the step; and the number of states, none for one that stands by itself
NEURONS: dict[str, tuple[Callable[..., Step], int]] = {"lif": (lambda: lif, 0), "adaptive": (lambda: adaptive, 3)}
NEURONS["recurrent"] = recurrent, 2

# what a contestant makes of the step, and how many steps are one turn of the loop
FORMS: dict[str, tuple[Callable[[Any], Any], int]] = {"jax.lax.scan": (lambda step: step, 1)}
# the backward pass computes the slopes again, in place of reading them
FORMS["jax.lax.scan, checkpoint"] = jax.checkpoint, 1
# on a CPU, an unrolled loop is slower, by four or by sixteen steps even two to seven times
FORMS["jax.lax.scan, unroll=2"] = (lambda step: step, 2)


class Library(NamedTuple):
    """A library of JAX: its LIF over time, by contestant, and the step that it says that it computes."""

    runs: Mapping[str, Callable[[suite.Size], Run]]  # from inputs to spikes
    step: Step
    gain: float = 1.0  # on the input of its neurons; the inputs are divided by it beforehand

    def subject(self, case: suite.Case, _: str, plain: bool = False) -> Subject:
        """Return what a case is about, or a plain loop that computes what it says that it computes."""
        documented = over_time(lambda v, x: self.step(v, self.gain * x))
        return jitted(documented if plain else self.runs[case.contestant](case.size), case.size, gain=self.gain)


def over_time(step: Step, states: int = 0, unroll: int = 1) -> Run:
    """Return a step over time from rest."""

    def run(x: jax.Array) -> jax.Array:
        zeros = jnp.zeros(x.shape[1:])
        return jax.lax.scan(step, (zeros,) * states or zeros, x, unroll=unroll)[1]

    return run


def jitted(run: Run, size: suite.Size, weights: Sequence[suite.Array] = (), gain: float = 1.0) -> Subject:
    """Return what leads from inputs, and from weights, to spikes, jitted, with its gradients."""
    leaves = [jnp.asarray(each) for each in (suite.draw(size) / np.float32(gain), *weights)]
    gradient = jnp.asarray(suite.draw_gradient(size))

    def run_and_pull(gradient: jax.Array, *leaves: jax.Array) -> tuple[jax.Array, ...]:
        spikes, pull = jax.vjp(run, *leaves)
        return spikes, *pull(gradient)

    forward, both = jax.jit(run), jax.jit(run_and_pull)
    wait: Callable[[Any], object] = jax.block_until_ready

    def observe(kept: Any) -> Observation:
        spikes, *gradients = map(np.asarray, both(gradient if kept is None else gradient * kept, *leaves))
        return spikes, gradients

    calls = {suite.FORWARD: lambda: wait(forward(*leaves)), suite.BOTH: lambda: wait(both(gradient, *leaves))}
    return Subject(calls, observe, trace_a_sine)


def trace_a_sine() -> None:
    """Compile something, which sets XLA up."""
    jax.jit(jax.grad(jnp.sin))(1.0).block_until_ready()


def own(size: suite.Size, backend: Any) -> Subject:
    """Return LIF through ``spikingtorch.jax``."""

    def run(x: jax.Array) -> jax.Array:
        return snn.scan(snn.lif_step, snn.LIFState(jnp.zeros(x.shape[1:])), x, params=params, backend=backend)[1]

    params = {"decay": suite.DECAY, "threshold": suite.THRESHOLD}
    return jitted(run, size)


def subject(case: suite.Case, backend: str, plain: bool = False) -> Subject:
    """Return what a case is about, or our own loop in torch, which computes the same."""
    if case.model in suite.JAX_TRAINING:
        return jax_training.subject(case, "loop" if plain or case.contestant.endswith("loop") else backend)
    if plain:
        return peers.subject(case._replace(contestant="spikingtorch, loop"), backend)
    if case.is_ours:
        return own(case.size, backend)
    (make, states), (wrap, unroll) = NEURONS[case.model], FORMS[case.contestant]
    if case.model != "recurrent":
        return jitted(over_time(wrap(make()), states, unroll), case.size)
    weight = suite.draw_weight(case.size.N)
    return jitted(lambda x, w: over_time(wrap(make(w)), states, unroll)(x), case.size, [weight])
