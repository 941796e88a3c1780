"""The spike functions of SpikingJelly, by their names: all fire at the threshold and above it."""

from spikingtorch import functional as F
from spikingtorch.like.surrogates import Boxcar, Scaled


def Sigmoid(alpha: float = 4.0) -> F.Surrogate:  # noqa: N802
    """Return the derivative of sigmoid(alpha u), the default of nearly every node."""
    return F.Sigmoid(float(alpha))


def ATan(alpha: float = 2.0) -> F.Surrogate:  # noqa: N802
    """Return (alpha / 2) / (1 + (pi alpha u / 2)^2)."""
    return F.Arctan(float(alpha))


def PiecewiseQuadratic(alpha: float = 1.0) -> F.Surrogate:  # noqa: N802
    """Return max(0, alpha - alpha^2 |u|)."""
    return F.Triangular(float(alpha))


def PiecewiseExp(alpha: float = 1.0) -> F.Surrogate:  # noqa: N802
    """Return (alpha / 2) exp(-alpha |u|)."""
    return F.PiecewiseExponential(float(alpha))


def SoftSign(alpha: float = 2.0) -> F.Surrogate:  # noqa: N802
    """Return (alpha / 2) / (1 + alpha |u|)^2."""
    return Scaled(F.FastSigmoid(float(alpha)), alpha / 2)


def SuperSpike(alpha: float = 1.0) -> F.Surrogate:  # noqa: N802
    """Return alpha / (1 + |u|)^2; alpha is a factor, not a slope."""
    return Scaled(F.FastSigmoid(1.0), float(alpha))


def Erf(alpha: float = 2.0) -> F.Surrogate:  # noqa: N802
    """Return alpha exp(-(alpha u)^2) / sqrt(pi)."""
    return F.Erf(float(alpha))


def Rect(alpha: float = 1.0) -> F.Surrogate:  # noqa: N802
    """Return alpha where |u| < 1 / (2 alpha), else 0."""
    return Boxcar(float(alpha))
