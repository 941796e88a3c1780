"""The spike H(u), and the one rule that differentiates it."""

import functools
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

Parameter = jax.Array | float
Arrays = tuple[jax.Array, ...]

S = TypeVar("S")


def heaviside(u: jax.Array) -> jax.Array:
    """Return H(u): 1 where u >= 0, else 0, in the shape and dtype of u.

    Its gradient is zero.
    """
    u = jnp.asarray(u)
    return (u >= 0).astype(u.dtype)


def spike(u: jax.Array, wrt: tuple[Parameter, ...], slopes: tuple[Parameter, ...]) -> jax.Array:
    """Return H(u), differentiated as a primitive phi whose partial derivatives are given in closed form.

        s  = H(u)
        ds = sum_i slopes[i] * d wrt[i]

    The slopes do not change the spike, but the tangent is differentiable in them: second derivatives are the
    derivatives of the closed forms.

    Args:
        u: membrane less threshold, shape (*N,), floating.
        wrt: the variables of phi, each broadcastable to (*N,).
        slopes: dphi/d wrt[i], each broadcasting to (*N,).

    Returns:
        The spikes, shape (*N,), in u's dtype.
    """

    def as_arrays(numbers: tuple[Parameter, ...]) -> Arrays:
        return tuple(jnp.asarray(number, u.dtype) for number in numbers)

    return _spike(u, as_arrays(wrt), as_arrays(slopes))


@jax.custom_jvp
def _spike(u: jax.Array, wrt: Arrays, slopes: Arrays) -> jax.Array:
    return heaviside(u)


@_spike.defjvp
def _spike_jvp(
    primals: tuple[jax.Array, Arrays, Arrays], tangents: tuple[jax.Array, Arrays, Arrays]
) -> tuple[jax.Array, jax.Array]:
    u, wrt, slopes = primals
    _, wrt_dot, _ = tangents
    ds = sum((slope * dot for slope, dot in zip(slopes, wrt_dot, strict=True)), start=jnp.zeros_like(u))
    return _spike(u, wrt, slopes), ds


def widened(method: Callable[[S, jax.Array], jax.Array]) -> Callable[[S, jax.Array], jax.Array]:
    """Evaluate a function of u in float32 or wider, and round its result to the dtype of u.

    In float16, the product of a slope and |u| = 1e4 overflows.
    """

    @functools.wraps(method)
    def evaluate(self: S, u: jax.Array) -> jax.Array:
        dtype = jnp.result_type(u, 0.0)
        wide = jnp.promote_types(dtype, jnp.float32)
        return method(self, jnp.asarray(u, wide)).astype(dtype)

    return evaluate
