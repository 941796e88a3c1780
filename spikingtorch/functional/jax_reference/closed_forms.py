"""Surrogates whose primitive phi has a parameter, with every derivative written out by hand."""

import math
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.nn import sigmoid
from jax.scipy.special import erf

from spikingtorch.functional.core.compare import compared_by_type
from spikingtorch.functional.jax_reference.spike import Parameter, spike, widened

Kind = TypeVar("Kind")


def closed_form(kind: type[Kind]) -> type[Kind]:
    """Compare a surrogate by its type, and evaluate its methods in float32 or wider."""
    for name in ("__call__", "primitive", "derivative"):
        setattr(kind, name, widened(getattr(kind, name)))
    return compared_by_type(kind)


@closed_form
class Sigmoid(NamedTuple):
    """Logistic surrogate; beta is its slope, per unit of u."""

    beta: Parameter = 5.0

    def __call__(self, u: jax.Array) -> jax.Array:
        """Return H(u); dphi/dbeta = u phi (1 - phi)."""
        dbeta = u * sigmoid(self.beta * u) * sigmoid(-self.beta * u)
        return spike(u, (u, self.beta), (self.derivative(u), dbeta))

    def primitive(self, u: jax.Array) -> jax.Array:
        """Return phi = 1 / (1 + exp(-beta u))."""
        return sigmoid(self.beta * u)

    def derivative(self, u: jax.Array) -> jax.Array:
        """Return phi' = beta phi (1 - phi)."""
        # 1 - phi(u) is phi(-u), without the cancellation.
        return self.beta * sigmoid(self.beta * u) * sigmoid(-self.beta * u)


@closed_form
class FastSigmoid(NamedTuple):
    """Surrogate with algebraic tails, phi'(0) = 1; beta is their steepness, per unit of u."""

    beta: Parameter = 10.0

    def __call__(self, u: jax.Array) -> jax.Array:
        """Return H(u); dphi/dbeta = -u |u| / (1 + beta |u|)^2."""
        dbeta = -u * jnp.abs(u) / (1 + self.beta * jnp.abs(u)) ** 2
        return spike(u, (u, self.beta), (self.derivative(u), dbeta))

    def primitive(self, u: jax.Array) -> jax.Array:
        """Return phi = u / (1 + beta |u|)."""
        return u / (1 + self.beta * jnp.abs(u))

    def derivative(self, u: jax.Array) -> jax.Array:
        """Return phi' = 1 / (1 + beta |u|)^2."""
        return 1 / (1 + self.beta * jnp.abs(u)) ** 2


@closed_form
class Arctan(NamedTuple):
    """Arctangent surrogate; phi'(0) = alpha / 2, per unit of u."""

    alpha: Parameter = 2.0

    def __call__(self, u: jax.Array) -> jax.Array:
        """Return H(u); dphi/dalpha = (u/2) / (1 + (pi alpha u / 2)^2)."""
        dalpha = (u / 2) / (1 + (math.pi * self.alpha * u / 2) ** 2)
        return spike(u, (u, self.alpha), (self.derivative(u), dalpha))

    def primitive(self, u: jax.Array) -> jax.Array:
        """Return phi = arctan(pi alpha u / 2) / pi + 1/2."""
        return jnp.arctan(math.pi * self.alpha * u / 2) / math.pi + 0.5

    def derivative(self, u: jax.Array) -> jax.Array:
        """Return phi' = (alpha/2) / (1 + (pi alpha u / 2)^2)."""
        return (self.alpha / 2) / (1 + (math.pi * self.alpha * u / 2) ** 2)


@closed_form
class Triangular(NamedTuple):
    """Piecewise-quadratic surrogate, flat for |u| > 1 / beta; phi'(0) = beta > 0, per unit of u."""

    beta: Parameter = 1.0

    def __call__(self, u: jax.Array) -> jax.Array:
        """Return H(u); dphi/dbeta = u max(0, 1 - beta |u|)."""
        dbeta = u * jnp.maximum(0, 1 - self.beta * jnp.abs(u))
        return spike(u, (u, self.beta), (self.derivative(u), dbeta))

    def primitive(self, u: jax.Array) -> jax.Array:
        """Return phi = 1/2 + z - z |z| / 2 for z = clip(beta u, -1, 1)."""
        z = jnp.clip(self.beta * u, -1, 1)
        return 0.5 + z - z * jnp.abs(z) / 2

    def derivative(self, u: jax.Array) -> jax.Array:
        """Return phi' = beta max(0, 1 - beta |u|)."""
        return self.beta * jnp.maximum(0, 1 - self.beta * jnp.abs(u))


@closed_form
class Gaussian(NamedTuple):
    """Surrogate whose phi' is the normal density; sigma > 0 is its standard deviation, in units of u."""

    sigma: Parameter = 0.5

    def __call__(self, u: jax.Array) -> jax.Array:
        """Return H(u); dphi/dsigma = -(u / sigma) phi'."""
        dphi = self.derivative(u)
        return spike(u, (u, self.sigma), (dphi, -u / self.sigma * dphi))

    def primitive(self, u: jax.Array) -> jax.Array:
        """Return phi = (1 + erf(u / (sigma sqrt(2)))) / 2."""
        return (1 + erf(u / (self.sigma * math.sqrt(2)))) / 2

    def derivative(self, u: jax.Array) -> jax.Array:
        """Return phi' = exp(-u^2 / (2 sigma^2)) / (sigma sqrt(2 pi))."""
        return jnp.exp(-(u**2) / (2 * self.sigma**2)) / (self.sigma * math.sqrt(2 * math.pi))


@closed_form
class DoubleGaussian(NamedTuple):
    """Surrogate whose phi' is gamma ((1 + h) n(u; sigma) - 2 h n(u; s sigma)), n a centred normal density."""

    sigma: Parameter = 0.5
    h: Parameter = 0.15
    s: Parameter = 6.0
    gamma: Parameter = 0.5

    def __call__(self, u: jax.Array) -> jax.Array:
        """Return H(u); since d(normal distribution)/d(width) = -(u / width) density, the widths have such terms."""
        narrow, broad = self._parts(u)
        dsigma = self.gamma * u / self.sigma * (2 * self.h * broad[1] - (1 + self.h) * narrow[1])
        dh = self.gamma * (narrow[0] - 2 * broad[0])
        ds = self.gamma * 2 * self.h * u / self.s * broad[1]
        dgamma = (1 + self.h) * narrow[0] - 2 * self.h * broad[0]
        inner = (u, self.sigma, self.h, self.s, self.gamma)
        return spike(u, inner, (self.derivative(u), dsigma, dh, ds, dgamma))

    def primitive(self, u: jax.Array) -> jax.Array:
        """Return phi = gamma ((1 + h) P(u; sigma) - 2 h P(u; s sigma)), P the distribution of n."""
        narrow, broad = self._parts(u)
        return self.gamma * ((1 + self.h) * narrow[0] - 2 * self.h * broad[0])

    def derivative(self, u: jax.Array) -> jax.Array:
        """Return phi'."""
        narrow, broad = self._parts(u)
        return self.gamma * ((1 + self.h) * narrow[1] - 2 * self.h * broad[1])

    def _parts(self, u: jax.Array) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
        """Return distribution and density of the narrow and of the broad normal distribution."""
        both = Gaussian(self.sigma), Gaussian(self.s * self.sigma)
        narrow, broad = ((each.primitive(u), each.derivative(u)) for each in both)
        return narrow, broad


@closed_form
class Erf(NamedTuple):
    """Error-function surrogate; phi'(0) = alpha / sqrt(pi), per unit of u."""

    alpha: Parameter = 2.0

    def __call__(self, u: jax.Array) -> jax.Array:
        """Return H(u); dphi/dalpha = u exp(-(alpha u)^2) / sqrt(pi)."""
        dalpha = u * jnp.exp(-((self.alpha * u) ** 2)) / math.sqrt(math.pi)
        return spike(u, (u, self.alpha), (self.derivative(u), dalpha))

    def primitive(self, u: jax.Array) -> jax.Array:
        """Return phi = (1 + erf(alpha u)) / 2."""
        return (1 + erf(self.alpha * u)) / 2

    def derivative(self, u: jax.Array) -> jax.Array:
        """Return phi' = alpha exp(-(alpha u)^2) / sqrt(pi)."""
        return self.alpha * jnp.exp(-((self.alpha * u) ** 2)) / math.sqrt(math.pi)


@closed_form
class PiecewiseExponential(NamedTuple):
    """Surrogate with exponential tails; phi'(0) = alpha / 2, per unit of u."""

    alpha: Parameter = 1.0

    def __call__(self, u: jax.Array) -> jax.Array:
        """Return H(u); dphi/dalpha = (u/2) exp(-alpha |u|)."""
        dalpha = u / 2 * jnp.exp(-self.alpha * jnp.abs(u))
        return spike(u, (u, self.alpha), (self.derivative(u), dalpha))

    def primitive(self, u: jax.Array) -> jax.Array:
        """Return phi = exp(alpha u) / 2 for u < 0, and 1 - exp(-alpha u) / 2 for u >= 0."""
        # Each exponential sees its own side only: the other would overflow and turn the gradient into NaN.
        below, above = jnp.where(u < 0, u, 0), jnp.where(u < 0, 0, u)
        return jnp.where(u < 0, jnp.exp(self.alpha * below) / 2, 1 - jnp.exp(-self.alpha * above) / 2)

    def derivative(self, u: jax.Array) -> jax.Array:
        """Return phi' = (alpha/2) exp(-alpha |u|)."""
        return self.alpha / 2 * jnp.exp(-self.alpha * jnp.abs(u))
