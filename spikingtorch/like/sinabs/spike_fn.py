"""The spike functions of Sinabs and their derivatives, by their names. y is the membrane less its threshold."""

from typing import NamedTuple

import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.core.compare import compared_by_type
from spikingtorch.functional.spike import heaviside
from spikingtorch.like.options import Value
from spikingtorch.like.steps import sinabs as steps


def SingleSpike(gradient: steps.Gradient) -> steps.SpikeFunction:  # noqa: N802
    """Return the spike function of at most one spike."""
    return steps.Single(gradient)


def MultiSpike(gradient: steps.Gradient) -> steps.SpikeFunction:  # noqa: N802
    """Return the spike function of any number of spikes."""
    return steps.Multi(gradient)


class MaxSpike(NamedTuple):
    """A spike function with a largest number of spikes.

    Args:
        max_num_spikes_per_bin: the largest number; None for no limit.
    """

    max_num_spikes_per_bin: int | None = None

    def __call__(self, gradient: steps.Gradient) -> steps.SpikeFunction:
        """Return the spike function with this derivative."""
        most = self.max_num_spikes_per_bin
        return steps.Multi(gradient, None if most is None else float(most))


@compared_by_type
class SingleExponential(NamedTuple):
    """grad_scale / w exp(-|y| / w) with w = grad_width threshold; its area is 2 grad_scale."""

    grad_width: float = 0.5
    grad_scale: float = 1.0

    def primitive(self, y: Tensor, threshold: Value) -> Tensor:
        """Return phi(y)."""
        side = 2.0 * heaviside(y) - 1.0
        return self.grad_scale * side * (1.0 - torch.exp(-(side * y) / (threshold * self.grad_width)))


@compared_by_type
class Gaussian(NamedTuple):
    """grad_scale times the normal density of y, of mean mu and standard deviation sigma."""

    mu: float = 0.0
    sigma: float = 0.5
    grad_scale: float = 1.0

    def primitive(self, y: Tensor, threshold: Value) -> Tensor:  # noqa: ARG002
        """Return phi(y)."""
        return self.grad_scale * F.Gaussian(self.sigma).primitive(y - self.mu)


@compared_by_type
class MultiGaussian(NamedTuple):
    """(1 + h) N(mu, sigma) - h N(sigma, s sigma) - h N(-sigma, s sigma), N a normal density; times grad_scale."""

    mu: float = 0.0
    sigma: float = 0.5
    h: float = 0.15
    s: float = 6.0
    grad_scale: float = 1.0

    def primitive(self, y: Tensor, threshold: Value) -> Tensor:  # noqa: ARG002
        """Return phi(y)."""
        narrow, wide = F.Gaussian(self.sigma), F.Gaussian(self.s * self.sigma)
        sides = wide.primitive(y - self.sigma) + wide.primitive(y + self.sigma)
        return self.grad_scale * ((1.0 + self.h) * narrow.primitive(y - self.mu) - self.h * sides)


@compared_by_type
class Heaviside(NamedTuple):
    """1 / threshold where y >= -window, else 0."""

    window: float = 1.0

    def primitive(self, y: Tensor, threshold: Value) -> Tensor:
        """Return phi(y)."""
        return torch.relu(y + self.window) / threshold


@compared_by_type
class PeriodicExponential(NamedTuple):
    """grad_scale exp(-|z| / grad_width), z = y below the threshold and a sawtooth of its period above."""

    grad_width: float = 0.5
    grad_scale: float = 1.0

    def primitive(self, y: Tensor, threshold: Value) -> Tensor:
        """Return phi(y), defined by its derivative, because phi has no closed form."""
        ratio = (y + threshold) / threshold - 0.5
        saw = threshold * (2.0 * (ratio - torch.floor(ratio)) - 1.0)
        z = torch.where(y >= 0, saw, y)
        return (y - y.detach()) * (self.grad_scale * torch.exp(-z.abs() / self.grad_width)).detach()
