"""The spike functions of snnTorch's ``surrogate`` module, by their names: all fire above the threshold, not at it."""

from spikingtorch import functional as F
from spikingtorch.like.surrogates import Escape, Sign


def atan(alpha: float = 2.0) -> F.Strict:
    """Return (alpha / 2) / (1 + (pi alpha u / 2)^2), the default of every neuron."""
    return F.Strict(F.Arctan(float(alpha)))


def fast_sigmoid(slope: float = 25.0) -> F.Strict:
    """Return 1 / (1 + slope |u|)^2."""
    return F.Strict(F.FastSigmoid(float(slope)))


def sigmoid(slope: float = 25.0) -> F.Strict:
    """Return the derivative of the sigmoid of slope u; it is 0 where snnTorch's overflows to NaN."""
    return F.Strict(F.Sigmoid(float(slope)))


def straight_through_estimator() -> F.Strict:
    """Return a derivative of 1 everywhere."""
    return F.Strict(F.StraightThrough())


def triangular(threshold: float = 1.0) -> F.Strict:
    """Return ``threshold`` below the threshold and ``-threshold`` at and above it, as snnTorch computes it."""
    return F.Strict(Sign(float(threshold)))


def spike_rate_escape(beta: float = 1.0, slope: float = 25.0) -> F.Strict:
    """Return slope exp(-beta |u - 1|)."""
    return F.Strict(Escape(float(beta), float(slope)))
