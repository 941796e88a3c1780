"""Delays that need not be whole numbers of steps."""

from functools import reduce
from operator import add
from typing import NamedTuple

import jax
import jax.numpy as jnp

from spikingtorch.functional.jax_reference.spike import Parameter


class DelayState(NamedTuple):
    """The last inputs, x[t-1] first, each of shape (*N,); their number is the longest delay in steps."""

    past: tuple[jax.Array, ...]


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
