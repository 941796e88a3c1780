"""Steps around a step: recurrence, refractory periods, and samples that end."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spikingtorch.functional.jax_reference.scan import zeros
from spikingtorch.functional.jax_reference.spike import Parameter


def inner_rest(step: Any, neuron: Any, like: jax.Array) -> Any:
    """Return the state at rest of a step, from the state of the neuron inside."""
    return step.at_rest(neuron, like) if hasattr(step, "at_rest") else neuron


class RefractoryState(NamedTuple):
    """State of the neuron, and the number of steps that it still rests, shape (*N,)."""

    neuron: Any
    left: jax.Array


class RelativeRefractoryState(NamedTuple):
    """State of the neuron, and the rise of the threshold by its last spikes, shape (*N,)."""

    neuron: Any
    r: jax.Array


class Refractory(NamedTuple):
    """A neuron that rests for a number of steps after each spike.

    Where left[t-1] > 0:  state[t] = state[t-1],  out[t] = 0,  left[t] = left[t-1] - 1
    Elsewhere:            state[t], out[t] = step(state[t-1], x[t]),  left[t] = steps where out[t] is not 0, else 0
    """

    step: Callable[..., Any]
    steps: float = 1.0

    def __call__(self, state: RefractoryState, x: Any, *, refractory: Parameter | None = None, **params: Any) -> Any:
        """Advance one step; refractory, which broadcasts to the neurons, replaces steps."""
        steps = self.steps if refractory is None else refractory
        resting = state.left > 0
        after, out = self.step(state.neuron, x, **params)
        neuron = jax.tree.map(lambda new, old: jnp.where(resting, old, new), after, state.neuron)
        left = jnp.where(resting, state.left - 1, steps * (out != 0).astype(state.left.dtype))
        return RefractoryState(neuron, jax.lax.stop_gradient(left)), jnp.where(resting, 0.0, out)

    def at_rest(self, neuron: Any, like: jax.Array) -> RefractoryState:
        """Return the state at rest, from that of the neuron and an input of one step."""
        return RefractoryState(inner_rest(self.step, neuron, like), zeros(like))


class RelativeRefractory(NamedTuple):
    """A neuron whose threshold jumps at each spike and falls back.

    state[t], out[t] = step(state[t-1], x[t], threshold + r[t-1])
    r[t] = decay r[t-1] + jump out[t]
    """

    step: Callable[..., Any]
    jump: float = 1.0
    decay: float = 0.5

    def __call__(self, state: RelativeRefractoryState, x: Any, *, threshold: Parameter = 1.0, **params: Any) -> Any:
        """Advance one step."""
        neuron, out = self.step(state.neuron, x, threshold=threshold + state.r, **params)
        return RelativeRefractoryState(neuron, self.decay * state.r + self.jump * out), out

    def at_rest(self, neuron: Any, like: jax.Array) -> RelativeRefractoryState:
        """Return the state at rest, from that of the neuron and an input of one step."""
        return RelativeRefractoryState(inner_rest(self.step, neuron, like), zeros(like))


class RecurrentState(NamedTuple):
    """State of the neuron, and its last output."""

    neuron: Any
    s: jax.Array


def dense(s: jax.Array, weight: jax.Array) -> jax.Array:
    """i[j] = sum over k of weight[j, k] s[k]."""
    return jnp.einsum("jk,...k->...j", weight, s)


def per_channel(s: jax.Array, weight: jax.Array) -> jax.Array:
    """i[j] = weight[j] s[j]."""
    return jnp.multiply(weight, s)


def convolution(s: jax.Array, weight: jax.Array) -> jax.Array:
    """i[c, p] = sum over d and q of weight[c, d, q] s[d, p + q - centre], s being zero outside.

    It is a sum over the entries q of the kernel, each a shifted image, without a convolution.
    """
    sizes = weight.shape[2:]
    axes = len(sizes)
    batched = s if s.ndim == axes + 2 else s[None]
    around = [(0, 0), (0, 0), *((size // 2, size // 2) for size in sizes)]
    padded = jnp.pad(batched, around)
    channels = weight.shape[0]
    groups = channels // weight.shape[1]
    total = jnp.zeros_like(batched)
    for q in np.ndindex(*sizes):
        window = tuple(slice(start, start + length) for start, length in zip(q, batched.shape[2:], strict=True))
        image = padded[(slice(None), slice(None), *window)]
        grouped = image.reshape(image.shape[0], groups, channels // groups, *image.shape[2:])
        entry = weight[(slice(None), slice(None), *q)].reshape(groups, channels // groups, channels // groups)
        total = total + jnp.einsum("gcd,ngd...->ngc...", entry, grouped).reshape(batched.shape)
    return total if s.ndim == axes + 2 else total[0]


class Recurrent(NamedTuple):
    """A neuron whose spikes feed back one step later.

    state[t], s[t] = step(state[t-1], x[t] + synapse(s[t-1], recurrent_weight))
    """

    step: Callable[..., Any]
    synapse: Callable[[Any, Any], Any] = dense

    def __call__(self, state: RecurrentState, x: Any, *, recurrent_weight: Any, **params: Any) -> Any:
        """Advance one step; the recurrent current joins the first input, and the first output feeds back."""
        feedback = self.synapse(state.s, recurrent_weight)
        first, *rest = jax.tree.leaves(x)
        driven = jax.tree.unflatten(jax.tree.structure(x), [first + feedback, *rest])
        neuron, out = self.step(state.neuron, driven, **params)
        return RecurrentState(neuron, jax.tree.leaves(out)[0]), out


class Masked(NamedTuple):
    """A neuron for samples of which some have ended.

    state[t], out[t] = step(state[t-1], x[t]) where running[t], and state[t-1], 0 elsewhere
    """

    step: Callable[..., Any]

    def __call__(self, state: Any, x: Any, **params: Any) -> Any:
        """Advance one step; x is a pair: the inputs, and bools of the running samples, (N,) or (N, 1, ...)."""
        inputs, running = x
        after, out = self.step(state, inputs, **params)
        held = jax.tree.map(lambda new, old: jnp.where(_along(running, new), new, old), after, state)
        return held, jax.tree.map(lambda each: jnp.where(_along(running, each), each, 0.0), out)


def _along(running: jax.Array, leaf: jax.Array) -> jax.Array:
    """Return the running samples with as many axes as a leaf; bools of single neurons stay as they are."""
    if running.ndim == leaf.ndim or any(size != 1 for size in running.shape[1:]):
        return running
    return running.reshape(*running.shape[:1], *(1,) * (leaf.ndim - 1))
