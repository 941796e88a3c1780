"""Limits of the parameters of neurons: what they may be, and where those that learn are kept.

A parameter is its own value: nothing is stored in its place. An optimizer moves it wherever it likes; before a layer
computes with it, it is put back to the nearest value that makes sense (projected gradient descent). Where code is
traced or transformed and nothing may be written, the same value is computed, with the gradient of the parameter,

    p = clamp(q, low, high),   dL/dq = dL/dp
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikingtorch.validation import check_parameter, check_reset, check_surrogate, has_values, value_range

FLOOR = 2.0**-20  # of what has to be positive and learns: one millionth, as every floating dtype has it exactly


class Limits(NamedTuple):
    """What a parameter may be.

    Attributes:
        above: a bound that is no value itself.
        least: the least value.
        most: the greatest value.
        learned: the same for one that learns, where it is narrower.
    """

    above: float | None = None
    least: float = -math.inf
    most: float = math.inf
    learned: "Limits | None" = None

    def check(self, owner: str, name: str, value: Any, learns: bool) -> None:
        """Raise unless a value is within the limits.

        Args:
            owner: who asks, for the messages.
            name: of the parameter.
            value: of the parameter, a float or a tensor.
            learns: whether it is to be kept within the limits of one that learns.
        """
        check_parameter(owner, name, value, above=self.above, least=self.least, most=self.most)
        if learns and self.learned is not None:
            try:
                self.learned.check(owner, name, value, False)
            except ValueError as error:
                raise ValueError(f"{error}, since it learns. constrain=False lets it go") from None

    def kept_within(self) -> "Range":
        """Return where a parameter that learns is kept."""
        limits = self.learned or self
        return Range(limits.least, limits.most)


class Range(NamedTuple):
    """Where a parameter that learns is kept.

    Attributes:
        low: the least value.
        high: the greatest value.
    """

    low: float
    high: float

    def put_back(self, owner: str, name: str, parameter: nn.Parameter) -> None:
        """Put a parameter back into the range, in place, if it may be written on.

        It is written on if it is outside of it only: graphs that hold a parameter within stay good, and those that hold
        another one raise, as after any write in place. Elsewhere than on the CPU, where looking makes the device wait,
        the write is not counted.

        Raises:
            ValueError: the parameter is NaN or infinite.
        """
        if not parameter.is_cpu:
            if may_write(parameter):
                parameter.data.clamp_(self.low, self.high)
            return
        bounds = value_range(owner, name, parameter)
        if bounds is not None and not (self.low <= bounds[0] and bounds[1] <= self.high):
            with torch.no_grad():
                parameter.clamp_(self.low, self.high)

    def within(self, value: Tensor) -> Tensor:
        """Return the nearest value in the range, with the gradient of the value; the value itself if it is within."""
        return value.detach().clamp(self.low, self.high) + (value - value.detach())


_FLOORED = Limits(least=FLOOR)
POSITIVE = Limits(above=0.0, learned=_FLOORED)
SHARE = Limits(least=0.0, most=1.0)
THRESHOLD = Limits(learned=_FLOORED)
DIVISOR = Limits(above=0.0, learned=Limits(least=1.0))
ANY = Limits()
# what every layer may have besides the parameters of its neuron
COMMON = {"dt": POSITIVE, "refractory": Limits(least=0.0)}


class Kind(NamedTuple):
    """What an attribute that is no number may be: ``test(owner, value)`` raises where it is not."""

    test: Callable[[str, Any], None]

    def check(self, owner: str, name: str, value: Any, learns: bool) -> None:  # noqa: ARG002
        """Raise unless a value is of this kind."""
        self.test(owner, value)


KINDS = {"surrogate": Kind(check_surrogate), "reset_rule": Kind(check_reset)}


def may_write(value: Any) -> bool:
    """Say whether a parameter can be put back in place."""
    return isinstance(value, nn.Parameter) and has_values(value)
