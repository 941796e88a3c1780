"""Independent JAX implementations of the losses, from their equations: one sample (T, ...) at a time, unpadded."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def _cross_entropy(z: jax.Array, target: int) -> jax.Array:
    return jax.scipy.special.logsumexp(z) - z[target]


def rate_cross_entropy(x: jax.Array, target: int, *, scale: float = 1.0) -> jax.Array:
    return _cross_entropy(scale * jnp.mean(x, axis=0), target)


def _count(x: jax.Array, population: int) -> jax.Array:
    """Each class by itself, by the indices of its neurons."""
    blocks = [slice(c, c + population) for c in range(0, x.shape[1], population)]
    return jnp.stack([x[:, block].sum() for block in blocks])


def count_cross_entropy(x: jax.Array, target: int, *, population: int = 1) -> jax.Array:
    return _cross_entropy(_count(x, population), target)


def per_step_cross_entropy(
    x: jax.Array, target: Any, *, lamb: float = 0.0, phi: float = 1.0, label_smoothing: float = 0.0
) -> jax.Array:
    """Each step by itself, and in it the cross-entropy with each class by itself."""
    total = jnp.zeros(())
    for step, label in zip(x, np.broadcast_to(target, x.shape[:1]), strict=True):
        C = step.shape[0]
        weights = [label_smoothing / C + (1.0 - label_smoothing) * (c == label) for c in range(C)]
        mixed = sum(weight * _cross_entropy(step, c) for c, weight in enumerate(weights))
        total += (1.0 - lamb) * mixed + lamb * jnp.sum((step - phi) ** 2) / C
    return total / x.shape[0]


def max_over_time_cross_entropy(x: jax.Array, target: int) -> jax.Array:
    return _cross_entropy(jnp.max(x, axis=0), target)


def last_step_cross_entropy(x: jax.Array, target: int) -> jax.Array:
    return _cross_entropy(x[-1], target)


def first_spike_time(x: jax.Array) -> jax.Array:
    """Each product by itself, of the steps up to it."""
    T = x.shape[0]
    earlier = jnp.tril(jnp.ones((T, T), bool)).reshape(T, T, *[1] * (x.ndim - 1))
    return jnp.prod(jnp.where(earlier, 1.0 - x, 1.0), axis=1).sum(0)


def first_spike_cross_entropy(x: jax.Array, target: int, *, temperature: float = 1.0) -> jax.Array:
    return _cross_entropy(-first_spike_time(x) / temperature, target)


def rate_mse(x: jax.Array, target: int, *, correct: float, incorrect: float) -> jax.Array:
    wanted = jnp.where(jax.nn.one_hot(target, x.shape[1]) == 1.0, jnp.asarray(correct), jnp.asarray(incorrect))
    return (jnp.mean(x, axis=0) - wanted) ** 2


def count_mse(x: jax.Array, target: int, *, correct: float, incorrect: float, population: int = 1) -> jax.Array:
    counts = _count(x, population)
    wanted = jnp.where(jax.nn.one_hot(target, len(counts)) == 1.0, jnp.asarray(correct), jnp.asarray(incorrect))
    return (counts - wanted) ** 2


def van_rossum_distance(x: jax.Array, target: jax.Array, *, tau: float) -> jax.Array:
    """The integral of a product of two kernels is tau / 2 exp(-|t_i - t_j| / tau): a sum over pairs of spikes."""
    time = jnp.arange(x.shape[0])
    kernel = jnp.exp(-jnp.abs(time[:, None] - time[None, :]) / tau)
    return jnp.einsum("i...,ij,j...->...", x - target, kernel, x - target) / 2.0


def firing_rate_penalty(x: jax.Array, *, low: float = -math.inf, high: float = math.inf) -> jax.Array:
    r = jnp.mean(x, axis=0)
    # a maximum, because where() has the gradient 0 inf = NaN of the side without a bound
    return jnp.maximum(low - r, 0.0) ** 2 + jnp.maximum(r - high, 0.0) ** 2


def integral_of_van_rossum(x: list[float], target: list[float], tau: float, substeps: int = 200) -> float:
    """The integral itself, by the midpoint rule, until the kernels have decayed by e^-20."""
    total, dt = 0.0, 1.0 / substeps
    for i in range(int((len(x) + 20 * tau) * substeps)):
        t = (i + 0.5) * dt
        pairs = [(k, a - b) for k, (a, b) in enumerate(zip(x, target, strict=True)) if k <= t]
        total += sum(d * math.exp(-(t - k) / tau) for k, d in pairs) ** 2 * dt
    return total / tau
