"""How a membrane of Sinabs 3.1.3 turns into spikes, and what they do to it."""

from typing import NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor

from spikingtorch.functional.core.compare import compared_by_type
from spikingtorch.like.options import stopped

Value: TypeAlias = Tensor | float


class Gradient(Protocol):
    """The derivative of a spike, as that of a primitive of y = u - threshold; its value does not matter."""

    def primitive(self, y: Tensor, threshold: Value, /) -> Tensor:
        """Return phi(y), of which the derivative counts."""
        ...


class SpikeFunction(Protocol):
    """From the membrane and its threshold to a number of spikes."""

    def __call__(self, u: Tensor, threshold: Value, /) -> Tensor:
        """Return the number of spikes, of the shape of u."""
        ...


class ResetFunction(Protocol):
    """What spikes do to a membrane."""

    def __call__(self, spikes: Tensor, u: Tensor, threshold: Value, /) -> Tensor:
        """Return the membrane after the reset."""
        ...


@compared_by_type
class Single(NamedTuple):
    """One spike at the threshold and above it: SingleSpike.

    Args:
        gradient: derivative of the spike.
    """

    gradient: Gradient

    def __call__(self, u: Tensor, threshold: Value) -> Tensor:
        """Return 1 where u - threshold >= 0, else 0."""
        n = (u - threshold >= 0).to(u.dtype)
        return _with_gradient(n, u, threshold, self.gradient)


@compared_by_type
class Multi(NamedTuple):
    """As many spikes as the membrane holds thresholds: MultiSpike, and MaxSpike with a limit.

    Args:
        gradient: derivative of the number of spikes, which is that around the first threshold.
        most: the largest number of spikes in a step, None for any.
    """

    gradient: Gradient
    most: float | None = None

    def __call__(self, u: Tensor, threshold: Value) -> Tensor:
        """Return trunc(u / threshold) where u > 0, else 0."""
        n = (u > 0).to(u.dtype) * torch.trunc(u / threshold)
        n = n if self.most is None else n.clamp(max=self.most)
        return _with_gradient(n, u, threshold, self.gradient)


def _with_gradient(n: Tensor, u: Tensor, threshold: Value, gradient: Gradient) -> Tensor:
    theta = stopped(threshold)
    phi = gradient.primitive(u - theta, theta)
    return n.detach() + (phi - phi.detach())


@compared_by_type
class MembraneSubtract(NamedTuple):
    """Take the threshold, or another value, off for each spike.

    Args:
        subtract_value: the other value, None for the threshold.
    """

    subtract_value: float | None = None

    def __call__(self, spikes: Tensor, u: Tensor, threshold: Value) -> Tensor:
        """Return u - spikes threshold."""
        return u - spikes * (threshold if self.subtract_value is None else self.subtract_value)


@compared_by_type
class MembraneReset(NamedTuple):
    """Set a membrane that spikes to zero, and add a value to every membrane, whether it spikes or not.

    Args:
        reset_value: what is added at every step.
    """

    reset_value: float = 0.0

    def __call__(self, spikes: Tensor, u: Tensor, threshold: Value) -> Tensor:  # noqa: ARG002
        """Return u where there is no spike, else 0, plus the value."""
        return u * (spikes == 0).to(u.dtype) + self.reset_value
