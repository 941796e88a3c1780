"""Neurons whose output returns to them one step later."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


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

    Written as a sum over the entries q of the kernel, each a shifted image, without a convolution.
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
    """state[t], s[t] = step(state[t-1], x[t] + synapse(s[t-1], recurrent_weight))."""

    step: Callable[..., Any]
    synapse: Callable[[Any, Any], Any] = dense

    def __call__(self, state: RecurrentState, x: Any, *, recurrent_weight: Any, **params: Any) -> Any:
        """Advance one step; of several inputs, the first is driven, and of several outputs, the first comes back."""
        feedback = self.synapse(state.s, recurrent_weight)
        first, *rest = jax.tree.leaves(x)
        driven = jax.tree.unflatten(jax.tree.structure(x), [first + feedback, *rest])
        neuron, out = self.step(state.neuron, driven, **params)
        return RecurrentState(neuron, jax.tree.leaves(out)[0]), out
