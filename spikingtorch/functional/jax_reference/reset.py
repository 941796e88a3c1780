"""Reset rules: rule(u, spike, threshold) is the membrane v that a neuron keeps after its spike.

The gradient flows through the spike, unless the rule is detached.
"""

from typing import NamedTuple, Protocol

import jax

from spikingtorch.functional.jax_reference.spike import Parameter


class Reset(Protocol):
    """A rule that gives the membrane v after a step."""

    def __call__(self, u: jax.Array, spike: jax.Array, threshold: Parameter, /) -> jax.Array:
        """Return v, in the shape of u."""
        ...


def to_zero(u: jax.Array, spike: jax.Array, threshold: Parameter) -> jax.Array:
    """Return v = (1 - s) u."""
    return (1 - spike) * u


def by_subtraction(u: jax.Array, spike: jax.Array, threshold: Parameter) -> jax.Array:
    """Return v = u - s threshold."""
    return u - spike * threshold


def none(u: jax.Array, spike: jax.Array, threshold: Parameter) -> jax.Array:
    """Return v = u."""
    return u


class Detached(NamedTuple):
    """A rule whose spike carries no gradient: v = rule(u, stop_gradient(s), threshold)."""

    rule: Reset

    def __call__(self, u: jax.Array, spike: jax.Array, threshold: Parameter) -> jax.Array:
        """Return v of the rule, with the spike held constant."""
        return self.rule(u, jax.lax.stop_gradient(spike), threshold)


def detached(rule: Reset) -> Detached:
    """Return the rule without the gradient through its spike."""
    return Detached(rule)
