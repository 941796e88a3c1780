"""Spike functions: the Heaviside step forward, the derivative of a smooth primitive backward.

A spike is ``H(u)`` with ``H(0) = 1``. Its derivative is zero almost everywhere, so training replaces it by the
derivative of a smooth *primitive* phi (E. O. Neftci, H. Mostafa, F. Zenke, "Surrogate gradient learning in spiking
neural networks", IEEE Signal Process. Mag. 36 (2019), doi:10.1109/MSP.2019.2931595). Here that is an ordinary
expression,

    s = H(u) + (phi(u) - stop_gradient(phi(u)))

whose value is exactly H(u) for finite u and whose derivative of any order is that of phi. It is an expression, not an
autograd Function. So it differentiates forward and backward under every ``torch.func`` transform and ``torch.compile``.

Every surrogate is a NamedTuple: immutable, hashable by value and callable, ``surrogate(u) -> s``. Its ``primitive`` is
public, so that it can be tested, plotted or used in place of the spike.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core.compare import compared_by_type
from spikingtorch.functional.spike import heaviside, spike


def _side(u: Tensor) -> Tensor:
    """Return the sign of u, with +1 at zero, so that derivatives that use it are correct there too."""
    return 2.0 * heaviside(u) - 1.0


@compared_by_type
class Sigmoid(NamedTuple):
    """Logistic primitive, the default everywhere.

        phi(u)  = 1 / (1 + exp(-beta u))
        phi'(u) = beta phi(u) (1 - phi(u))

    Args:
        beta: slope, in 1 / units of u, positive; the peak is phi'(0) = beta / 4.

    >>> Sigmoid(beta=5.0)(torch.tensor([-0.1, 0.0, 0.1]))
    tensor([0., 1., 1.])
    """

    beta: float | Tensor = 5.0

    def primitive(self, u: Tensor) -> Tensor:
        """Return phi(u)."""
        return torch.sigmoid(self.beta * u)

    def __call__(self, u: Tensor) -> Tensor:
        """Return H(u), with the derivative of phi(u)."""
        return spike(u, self.primitive(u))


@compared_by_type
class FastSigmoid(NamedTuple):
    """SuperSpike (F. Zenke, S. Ganguli, Neural Comput. 30 (2018), doi:10.1162/neco_a_01086).

        phi(u)  = u / (1 + beta |u|)
        phi'(u) = 1 / (1 + beta |u|)^2

    Args:
        beta: slope, in 1 / units of u, positive; phi'(0) = 1 for every beta.
    """

    beta: float | Tensor = 10.0

    def primitive(self, u: Tensor) -> Tensor:
        """Return phi(u)."""
        # u / (1 + beta |u|), in a form whose derivative does not cancel two nearly equal terms at large |u|
        side = _side(u)
        return side / self.beta * (1.0 - 1.0 / (1.0 + self.beta * (side * u)))

    def __call__(self, u: Tensor) -> Tensor:
        """Return H(u), with the derivative of phi(u)."""
        return spike(u, self.primitive(u))


@compared_by_type
class Arctan(NamedTuple):
    """Arctangent (W. Fang et al., ICCV 2021, doi:10.1109/ICCV48922.2021.00266).

        phi(u)  = arctan(pi alpha u / 2) / pi + 1/2
        phi'(u) = (alpha / 2) / (1 + (pi alpha u / 2)^2)

    Args:
        alpha: slope, in 1 / units of u, positive; phi'(0) = alpha / 2.
    """

    alpha: float | Tensor = 2.0

    def primitive(self, u: Tensor) -> Tensor:
        """Return phi(u)."""
        return torch.atan(self.alpha * u * (math.pi / 2)) / math.pi + 0.5

    def __call__(self, u: Tensor) -> Tensor:
        """Return H(u), with the derivative of phi(u)."""
        return spike(u, self.primitive(u))


@compared_by_type
class Triangular(NamedTuple):
    """Triangle of unit area (S. K. Esser et al., PNAS 113 (2016), doi:10.1073/pnas.1604850113).

        phi(u)  = 1/2 + z - z |z| / 2,  z = clip(beta u, -1, 1)
        phi'(u) = beta max(0, 1 - beta |u|)

    Args:
        beta: 1 / half width, in 1 / units of u, positive; phi'(0) = beta.
    """

    beta: float | Tensor = 1.0

    def primitive(self, u: Tensor) -> Tensor:
        """Return phi(u)."""
        z = (self.beta * u).clamp(-1.0, 1.0)
        return 0.5 + z - 0.5 * z * z.abs()

    def support(self, u: Tensor) -> Tensor:
        """Return bools that are true for beta |u| <= 1; elsewhere phi'(u) is zero."""
        return (self.beta * u).abs() <= 1.0

    def __call__(self, u: Tensor) -> Tensor:
        """Return H(u), with the derivative of phi(u)."""
        return spike(u, self.primitive(u))


@compared_by_type
class Gaussian(NamedTuple):
    """Normal density (B. Yin, F. Corradi, S. M. Bohte, Nat. Mach. Intell. 3 (2021), doi:10.1038/s42256-021-00397-w).

        phi(u)  = (1 + erf(u / (sigma sqrt 2))) / 2
        phi'(u) = exp(-u^2 / (2 sigma^2)) / (sigma sqrt(2 pi))

    Args:
        sigma: standard deviation, in units of u, positive.
    """

    sigma: float | Tensor = 0.5

    def primitive(self, u: Tensor) -> Tensor:
        """Return phi(u)."""
        return 0.5 * (1.0 + torch.erf(u / (self.sigma * math.sqrt(2.0))))

    def __call__(self, u: Tensor) -> Tensor:
        """Return H(u), with the derivative of phi(u)."""
        return spike(u, self.primitive(u))


@compared_by_type
class DoubleGaussian(NamedTuple):
    """Two normal densities around the threshold: a high one, less a low and wide one (B. Yin et al., as in Gaussian).

        phi(u)  = gamma ((1 + h) G(u / sigma) - 2 h G(u / (s sigma))),  G(z) = (1 + erf(z / sqrt 2)) / 2
        phi'(u) = gamma ((1 + h) N(u; sigma) - 2 h N(u; s sigma)),  N the normal density

    Far from the threshold the derivative is below zero. The published form moves the wide density by sigma to each
    side (``like.sinabs.MultiGaussian``). The centred one is what S. Higuchi et al. train with (arXiv:2402.14603).

    Args:
        sigma: standard deviation of the high density, in units of u, positive.
        h: weight of the wide one, without a unit.
        s: its standard deviation over sigma, positive.
        gamma: factor of the whole.
    """

    sigma: float | Tensor = 0.5
    h: float | Tensor = 0.15
    s: float | Tensor = 6.0
    gamma: float | Tensor = 0.5

    def primitive(self, u: Tensor) -> Tensor:
        """Return phi(u)."""
        high = Gaussian(self.sigma).primitive(u)
        return self.gamma * ((1.0 + self.h) * high - 2.0 * self.h * Gaussian(self.s * self.sigma).primitive(u))

    def __call__(self, u: Tensor) -> Tensor:
        """Return H(u), with the derivative of phi(u)."""
        return spike(u, self.primitive(u))


@compared_by_type
class Erf(NamedTuple):
    """Error function with a slope, as in SpikingJelly; Erf(alpha) is Gaussian(sigma=1 / (alpha sqrt 2)).

        phi(u)  = (1 + erf(alpha u)) / 2
        phi'(u) = alpha exp(-(alpha u)^2) / sqrt(pi)

    Args:
        alpha: slope, in 1 / units of u, positive.
    """

    alpha: float | Tensor = 2.0

    def primitive(self, u: Tensor) -> Tensor:
        """Return phi(u)."""
        return 0.5 * (1.0 + torch.erf(self.alpha * u))

    def __call__(self, u: Tensor) -> Tensor:
        """Return H(u), with the derivative of phi(u)."""
        return spike(u, self.primitive(u))


@compared_by_type
class PiecewiseExponential(NamedTuple):
    """Two-sided exponential (S. B. Shrestha, G. Orchard, SLAYER, NeurIPS 2018, arXiv:1810.08646).

        phi(u)  = exp(alpha u) / 2 for u < 0,  1 - exp(-alpha u) / 2 for u >= 0
        phi'(u) = (alpha / 2) exp(-alpha |u|)

    Args:
        alpha: rate of decay, in 1 / units of u, positive.
    """

    alpha: float | Tensor = 1.0

    def primitive(self, u: Tensor) -> Tensor:
        """Return phi(u)."""
        # side * u = |u| >= 0 keeps the exponential below one; with a where(), the unused branch would overflow
        side = _side(u)
        return 0.5 + 0.5 * side * (1.0 - torch.exp(-self.alpha * (side * u)))

    def __call__(self, u: Tensor) -> Tensor:
        """Return H(u), with the derivative of phi(u)."""
        return spike(u, self.primitive(u))


@compared_by_type
class StraightThrough(NamedTuple):
    """Straight-through estimator (Y. Bengio, N. Léonard, A. Courville, arXiv:1308.3432).

    phi(u)  = u
    phi'(u) = 1
    """

    def primitive(self, u: Tensor) -> Tensor:
        """Return phi(u)."""
        return u

    def __call__(self, u: Tensor) -> Tensor:
        """Return H(u), with the derivative of phi(u)."""
        return spike(u, self.primitive(u))


@compared_by_type
class FromPrimitive(NamedTuple):
    """Your own surrogate from a smooth function.

    Args:
        primitive: phi, an elementwise and differentiable torch function, finite for every finite u.

    >>> surrogate = FromPrimitive(lambda u: 0.5 * torch.tanh(u))
    >>> u = torch.zeros(1, requires_grad=True)
    >>> torch.autograd.grad(surrogate(u).sum(), u)
    (tensor([0.5000]),)
    """

    primitive: Callable[[Tensor], Tensor]

    def __call__(self, u: Tensor) -> Tensor:
        """Return H(u), with the derivative of phi(u)."""
        return spike(u, self.primitive(u))


@compared_by_type
class FromDerivative(NamedTuple):
    """Your own surrogate from a derivative alone, if the primitive is unknown or does not exist.

        s = H(u) + (u - stop_gradient(u)) stop_gradient(dphi(u))

    The gradient is dphi(u). A second derivative would need the derivative of dphi, and is zero. Prefer FromPrimitive.

    Args:
        derivative: phi', an elementwise torch function, finite for every finite u; it need not be differentiable.

    >>> surrogate = FromDerivative(lambda u: (u.abs() < 0.5).to(u.dtype))  # a boxcar
    >>> u = torch.tensor([-0.6, 0.4], requires_grad=True)
    >>> torch.autograd.grad(surrogate(u).sum(), u)
    (tensor([0., 1.]),)
    """

    derivative: Callable[[Tensor], Tensor]

    def __call__(self, u: Tensor) -> Tensor:
        """Return H(u), with the derivative dphi(u)."""
        return heaviside(u) + (u - u.detach()) * self.derivative(u).detach()
