"""Delays that need not be whole numbers of steps."""

from functools import reduce
from operator import add
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from spikingtorch.functional.jax_reference.scan import lift, zeros
from spikingtorch.functional.jax_reference.spike import Parameter


class DelayState(NamedTuple):
    """The last inputs, x[t-1] first, each of shape (*N,); their number is the longest delay in steps."""

    past: tuple[jax.Array, ...]


def empty_delay(longest: int, like: jax.Array) -> DelayState:
    """Return a delay line of zeros; longest is the longest delay in steps, and like an input of one step."""
    return DelayState(past=(zeros(like),) * longest)


def delay_step(state: DelayState, x: jax.Array, *, delay: Parameter) -> tuple[DelayState, jax.Array]:
    """Delay an input, with linear interpolation between whole steps.

        out[t] = sum over k = 0 .. D of max(0, 1 - |delay - k|) x[t-k]

    Hammouamri et al., "Learning delays in spiking neural networks using dilated convolutions with learnable spacings",
    ICLR 2024, doi:10.48550/arXiv.2306.17670.
    """
    inputs = (x, *state.past)
    whole = jax.lax.stop_gradient(jnp.floor(delay))
    rest = delay - whole
    # A linear function between two whole delays; at a whole delay, its derivative is the one towards the longer delay.
    taps = [((whole == k) * (1 - rest) + (whole == k - 1) * rest) * x_k for k, x_k in enumerate(inputs)]
    return DelayState(past=inputs[:-1]), reduce(add, taps)


def delayed(state: DelayState, xs: jax.Array, delay: Parameter, dim: int = 0) -> tuple[DelayState, jax.Array]:
    """Delay a whole sequence: ``scan(delay_step, state, xs, params={"delay": delay}, dim=dim)``, by shifting it.

        out[t] = (1 - r) x[t-k] + r x[t-k-1]          k = floor(delay), r = delay - k

    Args:
        state: the inputs before the first step; their number is the longest delay.
        xs: inputs over time, (T, *N) for dim = 0.
        delay: in steps, from 0 to the longest, broadcastable to (*N,).
        dim: the axis of time.

    Raises:
        ValueError: delay is a number outside of this range.
    """
    longest = len(state.past)
    if isinstance(delay, int | float) and not 0 <= delay <= longest:
        raise ValueError(
            f"delayed: delay={delay!r}, expected from 0 to {longest}, the steps of the line; make a longer one with "
            "empty_delay(longest, like)"
        )
    inputs = jnp.moveaxis(lift(xs), dim, 0)
    line = jnp.concatenate([*(past[None] for past in reversed(state.past)), inputs])
    whole = jax.lax.stop_gradient(jnp.floor(delay))
    rest = delay - whole
    out = (1 - rest) * _shifted(line, whole, longest) + rest * _shifted(line, whole + 1, longest)
    last = tuple(line[len(line) - 1 - k] for k in range(longest))
    return DelayState(past=last), jnp.moveaxis(out, 0, dim).astype(xs.dtype)


def _shifted(line: jax.Array, k: Any, longest: int) -> jax.Array:
    """Return x[t-k] for all steps t after the first of the line, and zero where the line is too short for k."""
    steps = len(line) - longest
    start = longest - jnp.minimum(k, longest).astype(jnp.int32)
    if jnp.ndim(k) == 0:
        shifted = jax.lax.dynamic_slice_in_dim(line, start, steps)
    else:
        at = jnp.expand_dims(jnp.arange(steps), range(1, line.ndim)) + jnp.broadcast_to(start, line.shape[1:])
        shifted = jnp.take_along_axis(line, at, axis=0)
    return jnp.where(k > longest, 0.0, shifted)
