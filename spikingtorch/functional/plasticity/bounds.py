"""Bounds of weights: how much of a rise and of a fall a weight takes."""

from typing import NamedTuple, Protocol

from torch import Tensor


class Bounds(Protocol):
    """Anything callable that gives the change of a weight."""

    def __call__(self, weight: Tensor, rise: Tensor, fall: Tensor, /) -> Tensor:
        """Return the change, (O, I), for the rise and the fall that a rule asks for."""
        ...


def clip(weight: Tensor, low: Tensor | float | None, high: Tensor | float | None) -> Tensor:
    """Return a weight between two bounds, numbers or tensors; None for no bound."""
    weight = weight if low is None else weight.clamp(min=low)
    return weight if high is None else weight.clamp(max=high)


def unbounded(weight: Tensor, rise: Tensor, fall: Tensor) -> Tensor:  # noqa: ARG001 - as other bounds
    """Return the change of a weight without bounds, the additive rule: ``rise - fall``.

    Args:
        weight: shape (O, I).
        rise: sum of all increases, at least zero, shape (O, I).
        fall: sum of all decreases, at least zero, shape (O, I).
    """
    return rise - fall


class HardBounds(NamedTuple):
    """Clip a weight, after its fall and after its rise: the additive rule with hard bounds.

        w' = clip(w - fall, low, high)
        change = clip(w' + rise, low, high) - w

    Args:
        low: lowest weight, broadcastable to (O, I).
        high: highest weight, broadcastable to (O, I).
    """

    low: Tensor | float = 0.0
    high: Tensor | float = 1.0

    def __call__(self, weight: Tensor, rise: Tensor, fall: Tensor) -> Tensor:
        """Return the change of a weight; the arguments are those of ``unbounded``."""
        lower = clip(weight - fall, self.low, self.high)
        return clip(lower + rise, self.low, self.high) - weight


class SoftBounds(NamedTuple):
    """Scale the steps of a weight by its distance to the bounds: the multiplicative rule, for power 1.

        w' = clip(w - fall (w - low)^power, low, high)
        change = clip(w' + rise (high - w')^power, low, high) - w

    Args:
        low: lowest weight, broadcastable to (O, I).
        high: highest weight, broadcastable to (O, I).
        power: exponent mu, above zero; near zero, the rule becomes that of ``HardBounds``.

    Source: R. Guetig, R. Aharonov, S. Rotter, H. Sompolinsky, J. Neurosci. 23 (2003),
    doi:10.1523/JNEUROSCI.23-09-03697.2003.
    """

    low: Tensor | float = 0.0
    high: Tensor | float = 1.0
    power: float = 1.0

    def __call__(self, weight: Tensor, rise: Tensor, fall: Tensor) -> Tensor:
        """Return the change of a weight; the arguments are those of ``unbounded``."""
        above = (weight - self.low).clamp(min=0.0) ** self.power
        lower = clip(weight - fall * above, self.low, self.high)
        below = (self.high - lower) ** self.power
        return clip(lower + rise * below, self.low, self.high) - weight
