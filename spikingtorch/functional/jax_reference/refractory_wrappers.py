"""Refractory periods for any step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from spikingtorch.functional.jax_reference.spike import Parameter


class RefractoryState(NamedTuple):
    """State of the neuron, and the steps for which it still rests, shape (*N,)."""

    neuron: Any
    left: jax.Array


class RelativeRefractoryState(NamedTuple):
    """State of the neuron, and what its last spikes add to the threshold, shape (*N,)."""

    neuron: Any
    r: jax.Array


class Refractory(NamedTuple):
    """A neuron that rests for a number of steps after each spike.

    Where left[t-1] > 0:  state[t] = state[t-1],  out[t] = 0,  left[t] = left[t-1] - 1
    Elsewhere:            state[t], out[t] = step(state[t-1], x[t]),  left[t] = steps where out[t] is not 0, else 0
    """

    step: Callable[..., Any]
    steps: Parameter

    def __call__(self, state: RefractoryState, x: Any, **params: Any) -> Any:
        """Advance one step."""
        resting = state.left > 0
        after, out = self.step(state.neuron, x, **params)
        neuron = jax.tree.map(lambda new, old: jnp.where(resting, old, new), after, state.neuron)
        left = jnp.where(resting, state.left - 1, self.steps * (out != 0).astype(state.left.dtype))
        return RefractoryState(neuron, jax.lax.stop_gradient(left)), jnp.where(resting, 0.0, out)


class RelativeRefractory(NamedTuple):
    """A neuron whose threshold jumps at each spike and falls back.

    state[t], out[t] = step(state[t-1], x[t], threshold + r[t-1])
    r[t] = decay r[t-1] + jump out[t]
    """

    step: Callable[..., Any]
    jump: Parameter
    decay: Parameter

    def __call__(self, state: RelativeRefractoryState, x: Any, *, threshold: Parameter = 1.0, **params: Any) -> Any:
        """Advance one step."""
        neuron, out = self.step(state.neuron, x, threshold=threshold + state.r, **params)
        return RelativeRefractoryState(neuron, self.decay * state.r + self.jump * out), out
