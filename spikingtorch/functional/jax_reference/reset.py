"""Reset rules: rule(u, spike, threshold) is the membrane v that a neuron keeps after its spike.

The gradient flows through the spike, unless the rule is detached.
"""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from spikingtorch.functional.core.compare import compared_by_type
from spikingtorch.functional.jax_reference.spike import Parameter


class Reset(Protocol):
    """A rule that gives the membrane v after a step."""

    def __call__(self, u: jax.Array, spike: jax.Array, threshold: Parameter, /) -> jax.Array:
        """Return v, in the shape of u."""
        ...


def to_zero(u: jax.Array, spike: jax.Array, threshold: Parameter) -> jax.Array:
    """Return v = (1 - s) u, with u = +inf taken for the largest finite number."""
    return (1 - spike) * _finite_above(u)


def by_subtraction(u: jax.Array, spike: jax.Array, threshold: Parameter) -> jax.Array:
    """Return v = u - s threshold."""
    return u - spike * threshold


def none(u: jax.Array, spike: jax.Array, threshold: Parameter) -> jax.Array:
    """Return v = u."""
    return u


@compared_by_type
class ToValue(NamedTuple):
    """A rule that sets the membrane to v_reset, broadcastable to (*N,), in units of the membrane."""

    v_reset: Parameter

    def __call__(self, u: jax.Array, spike: jax.Array, threshold: Parameter) -> jax.Array:
        """Return v = (1 - s) u + s v_reset, with u = +inf taken for the largest finite number."""
        return (1 - spike) * _finite_above(u) + spike * self.v_reset


def to_value(v_reset: Parameter) -> ToValue:
    """Return the rule that sets the membrane to v_reset."""
    return ToValue(v_reset)


class Detached(NamedTuple):
    """A rule whose spike carries no gradient: v = rule(u, stop_gradient(s), threshold)."""

    rule: Reset

    def __call__(self, u: jax.Array, spike: jax.Array, threshold: Parameter) -> jax.Array:
        """Return v of the rule, with the spike held constant."""
        return self.rule(u, jax.lax.stop_gradient(spike), threshold)


def detached(rule: Reset) -> Detached:
    """Return the rule without the gradient through its spike."""
    return rule if isinstance(rule, Detached) else Detached(rule)


def _finite_above(u: jax.Array) -> jax.Array:
    """Return min(u, largest finite number); its gradient is 0 at +inf, and 1 below."""
    # 0 times infinity would be NaN.
    u = jnp.asarray(u)
    largest: Any = jnp.finfo(u.dtype).max  # type: ignore[no-untyped-call]
    return jnp.where(u == jnp.inf, largest, u)
