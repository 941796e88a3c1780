"""Spike functions of other libraries without an equal surrogate in this library: scaled ones and odd shapes."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.core.compare import compared_by_type
from spikingtorch.functional.spike import heaviside, spike


class Smooth(F.Surrogate, Protocol):
    """A surrogate with a primitive."""

    def primitive(self, u: Tensor, /) -> Tensor:
        """Return phi(u)."""
        ...


@compared_by_type
class Scaled(NamedTuple):
    """A surrogate with its derivative multiplied by a number.

        s = H(u),  ds/du = scale phi'(u)

    Args:
        surrogate: a surrogate with a primitive phi.
        scale: factor of the derivative.

    >>> Scaled(F.Sigmoid(4.0), 0.5)(torch.tensor([-0.1, 0.0, 0.1]))
    tensor([0., 1., 1.])
    """

    surrogate: Smooth
    scale: float

    def primitive(self, u: Tensor) -> Tensor:
        """Return scale phi(u)."""
        return self.scale * self.surrogate.primitive(u)

    def __call__(self, u: Tensor) -> Tensor:
        """Return H(u), with the derivative scale phi'(u)."""
        return spike(u, self.primitive(u))


@compared_by_type
class Boxcar(NamedTuple):
    """A derivative that is constant near the threshold: Rect of SpikingJelly.

        phi(u) = clamp(alpha u, -1/2, 1/2),  phi'(u) = alpha where |u| < 1 / (2 alpha), else 0

    Args:
        alpha: height, in 1 / units of u, positive.
    """

    alpha: float = 1.0

    def primitive(self, u: Tensor) -> Tensor:
        """Return phi(u)."""
        return (self.alpha * u).clamp(-0.5, 0.5)

    def __call__(self, u: Tensor) -> Tensor:
        """Return H(u), with the derivative of phi(u)."""
        return spike(u, self.primitive(u))


@compared_by_type
class Circular(NamedTuple):
    """An arc: method "circ" of Norse.

        phi(u) = alpha u / sqrt(u^2 + alpha^2),  phi'(u) = (alpha / sqrt(u^2 + alpha^2))^3

    Args:
        alpha: width, in units of u, positive; phi'(0) = 1.
    """

    alpha: float = 1.0

    def primitive(self, u: Tensor) -> Tensor:
        """Return phi(u)."""
        return self.alpha * u / torch.sqrt(u * u + self.alpha**2)

    def __call__(self, u: Tensor) -> Tensor:
        """Return H(u), with the derivative of phi(u)."""
        return spike(u, self.primitive(u))


@compared_by_type
class Escape(NamedTuple):
    """An exponential on both sides of a point above the threshold: spike_rate_escape of snnTorch.

        phi'(u) = slope exp(-beta |u - 1|)

    Args:
        beta: rate of decay, positive.
        slope: height of the derivative.
    """

    beta: float = 1.0
    slope: float = 25.0

    def primitive(self, u: Tensor) -> Tensor:
        """Return phi(u)."""
        return 2.0 * self.slope / self.beta * F.PiecewiseExponential(self.beta).primitive(u - 1.0)

    def __call__(self, u: Tensor) -> Tensor:
        """Return H(u), with the derivative of phi(u)."""
        return spike(u, self.primitive(u))


@compared_by_type
class Sign(NamedTuple):
    """A derivative that changes its sign at the threshold: triangular of snnTorch, which is not a triangle.

        phi(u) = -height |u|,  phi'(u) = height below the threshold, -height at and above it

    Args:
        height: of the derivative.
    """

    height: float = 1.0

    def primitive(self, u: Tensor) -> Tensor:
        """Return phi(u)."""
        return -self.height * (2.0 * heaviside(u) - 1.0) * u

    def __call__(self, u: Tensor) -> Tensor:
        """Return H(u), with the derivative of phi(u)."""
        return spike(u, self.primitive(u))


class NoDerivative(NamedTuple):
    """A spike without a gradient: method "heaviside" of Norse."""

    def primitive(self, u: Tensor) -> Tensor:
        """Return 0 for every u, without a gradient."""
        return torch.zeros_like(u)

    def __call__(self, u: Tensor) -> Tensor:
        """Return H(u), without a gradient."""
        return heaviside(u)
