"""Batch norm over batch and time."""

from typing import Any

import jax
import jax.numpy as jnp


def time_batch_norm(
    x: jax.Array, weight: Any, bias: Any, running: jax.Array | None = None, scale: float = 1.0, eps: float = 1e-5
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return y = weight scale (x - mean) / sqrt(var + eps) + bias, mean and var over samples, steps and space.

    Args:
        x: shape (N, T, C, ...).
        weight: shape (C,).
        bias: shape (C,).
        running: the steps that count, (N, T); all other steps become zero.
        scale: alpha times the threshold, for the norm that depends on it.
        eps: added to the variance.

    Returns:
        y, mean, and the unbiased variance.
    """
    channels = jnp.moveaxis(x, 2, -1)
    counts = jnp.ones(x.shape[:2], x.dtype) if running is None else running.astype(x.dtype)
    mask = counts.reshape(*counts.shape, *(1,) * (channels.ndim - 2)) * jnp.ones_like(channels)
    axes = tuple(range(channels.ndim - 1))
    n = mask.sum(axes)
    values = jnp.where(mask > 0, channels, 0.0)
    mean = values.sum(axes) / n
    var = (mask * (values - mean) ** 2).sum(axes) / n
    y = weight * scale * (values - mean) / jnp.sqrt(var + eps) + bias
    return jnp.moveaxis(jnp.where(mask > 0, y, 0.0), -1, 2), mean, var * n / (n - 1.0)
