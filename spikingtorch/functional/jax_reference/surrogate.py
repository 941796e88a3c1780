"""Surrogates: surrogate(u) is the spike H(u), differentiated as if it were a smooth primitive phi(u).

    s  = H(u), with H(0) = 1
    ds = phi'(u) du + (dphi/dparameter) dparameter

Each is a NamedTuple with methods primitive(u), which is phi, and derivative(u), which is phi' in closed form.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from spikingtorch.functional.core.compare import compared_by_type
from spikingtorch.functional.jax_reference.spike import spike, widened


class Surrogate(Protocol):
    """A function of u = membrane - threshold that returns spikes and defines their gradient."""

    def __call__(self, u: jax.Array, /) -> jax.Array:
        """Return the spikes, in the shape and dtype of u."""
        ...


class Smooth(Surrogate, Protocol):
    """A surrogate whose primitive is known."""

    @property
    def primitive(self) -> Callable[[jax.Array], jax.Array]:
        """phi, elementwise."""
        ...

    @property
    def derivative(self) -> Callable[[jax.Array], jax.Array]:
        """phi', elementwise."""
        ...


@compared_by_type
class StraightThrough(NamedTuple):
    """Surrogate that lets the gradient pass unchanged."""

    @widened
    def __call__(self, u: jax.Array) -> jax.Array:
        """Return H(u)."""
        return spike(u, (u,), (1.0,))

    def primitive(self, u: jax.Array) -> jax.Array:
        """Return phi = u."""
        return u

    def derivative(self, u: jax.Array) -> jax.Array:
        """Return phi' = 1."""
        return jnp.ones_like(u)


@compared_by_type
class FromPrimitive(NamedTuple):
    """Surrogate of a given elementwise phi; variables that phi closes over get their gradient too."""

    primitive: Callable[[jax.Array], jax.Array]

    @widened
    def __call__(self, u: jax.Array) -> jax.Array:
        """Return H(u), with the tangent of phi(u)."""
        return spike(u, (self.primitive(u),), (1.0,))

    @widened
    def derivative(self, u: jax.Array) -> jax.Array:
        """Return phi', by forward differentiation of phi."""
        dphi: jax.Array
        _, dphi = jax.jvp(self.primitive, (u,), (jnp.ones_like(u),))
        return dphi


@compared_by_type
class FromDerivative(NamedTuple):
    """Surrogate of a given elementwise phi', held constant: second derivatives are zero.

    Its phi is not known, so it has no method primitive.
    """

    derivative: Callable[[jax.Array], jax.Array]

    @widened
    def __call__(self, u: jax.Array) -> jax.Array:
        """Return H(u), with ds = stop_gradient(phi'(u)) du."""
        return spike(u, (u,), (jax.lax.stop_gradient(self.derivative(u)),))
