"""Whole numbers in floating point: roundings, overflow, and the format of a fixed-point neuron.

A fixed-point number is a whole number times ``lsb = 2**-fraction_bits``. Float32 holds whole numbers up to 2^24, so
sums and products below that bound are what integers give, bit for bit. The gradient of a rounded number is that of the
number itself (straight-through).
"""

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from spikingtorch.functional.core.compare import compared_by_type

__all__ = ["FixedPoint", "Overflow", "Rounding", "overflow_to_nan", "round_floor", "round_half_even"]
__all__ += ["round_half_up", "round_trunc", "saturate", "wrap"]

# float32 multiplies a whole number below 2^12 with one of up to 2^12 exactly
_FACTOR_BITS = 12


class Rounding(Protocol):
    """A rule that rounds the number ``whole + part``, 0 <= part < 1, to a whole number."""

    def __call__(self, whole: Tensor, part: Tensor, /) -> Tensor:
        """Return ``whole`` or ``whole + 1``."""
        ...


class Overflow(Protocol):
    """A rule for a membrane u outside of [low, high]; without a fraction, low is -2^(B-1) and high is 2^(B-1) - 1."""

    def __call__(self, u: Tensor, low: float, high: float, /) -> Tensor:
        """Return a membrane within [low, high], or NaN."""
        ...


def round_floor(whole: Tensor, part: Tensor) -> Tensor:
    """Round down, as an arithmetic right shift does: ``floor(y)``."""
    return whole


def round_trunc(whole: Tensor, part: Tensor) -> Tensor:
    """Round towards zero: ``trunc(y)``."""
    return whole + ((whole < 0) & (part > 0)).to(whole.dtype)


def round_half_up(whole: Tensor, part: Tensor) -> Tensor:
    """Round to the nearest whole number, and halves up: ``floor(y + 1/2)``."""
    return whole + (part >= 0.5).to(whole.dtype)


def round_half_even(whole: Tensor, part: Tensor) -> Tensor:
    """Round to the nearest whole number, and halves to the even one, as ``torch.round`` does."""
    is_odd = whole - 2.0 * torch.floor(whole * 0.5) > 0.5
    return whole + ((part > 0.5) | ((part == 0.5) & is_odd)).to(whole.dtype)


def saturate(u: Tensor, low: float, high: float) -> Tensor:
    """Return the nearest value within the range, ``clamp(u, low, high)``, with the gradient of clamp."""
    return u.clamp(low, high)


def wrap(u: Tensor, low: float, high: float) -> Tensor:
    """Return u modulo ``-2 low``, as two's complement does; the gradient is that of u."""
    span = -2.0 * low
    turns = round_half_up(*_parts(u.detach() / span))
    return u - span * turns


def overflow_to_nan(u: Tensor, low: float, high: float) -> Tensor:
    """Return NaN in place of a value outside of the range; every later membrane of that neuron is NaN as well."""
    return torch.where((u >= low) & (u <= high), u, math.nan)


def through(exact: Tensor, x: Tensor) -> Tensor:
    """Return ``exact``, differentiated as x; x is finite."""
    return exact.detach() + (x - x.detach())


@compared_by_type
class FixedPoint(NamedTuple):
    """The format of a fixed-point membrane: whole numbers of B bits, with a sign, times ``lsb = 2**-n``.

    Attributes:
        fraction_bits: n; the grid of membranes, thresholds and rounded inputs is lsb = 2^-n.
        membrane_bits: B, from 2 to 24; the range is [-2^(B-1), 2^(B-1) - 1] lsb.
        rounding: rounds products and inputs to the grid: ``round_floor``, ``round_trunc``, ``round_half_up`` or
            ``round_half_even``.
        overflow: what a sum outside of the range becomes: ``saturate``, ``wrap`` or ``overflow_to_nan``.

    >>> FixedPoint(fraction_bits=2, membrane_bits=4).rounded(torch.tensor([0.3, -0.3]))
    tensor([ 0.2500, -0.5000])
    """

    fraction_bits: int = 8
    membrane_bits: int = 16
    rounding: Rounding = round_floor
    overflow: Overflow = saturate

    def __repr__(self) -> str:
        rules = [getattr(rule, "__name__", repr(rule)) for rule in (self.rounding, self.overflow)]
        return f"FixedPoint({self.fraction_bits}, {self.membrane_bits}, {', '.join(rules)})"

    @property
    def lsb(self) -> float:
        """The distance of neighbouring numbers."""
        return 2.0**-self.fraction_bits

    @property
    def low(self) -> float:
        """The least number."""
        return -(2.0 ** (self.membrane_bits - 1 - self.fraction_bits))

    @property
    def high(self) -> float:
        """The greatest number."""
        return -self.low - self.lsb

    def rounded(self, x: Tensor) -> Tensor:
        """Return R(x / lsb) lsb: x on the grid, with the gradient of x."""
        return through(self.rounding(*_parts(x.detach() / self.lsb)) * self.lsb, x)

    def scaled(self, v: Tensor, factor: Tensor | float) -> Tensor:
        """Return R(V factor) lsb for V = v / lsb, with the gradient of ``v factor``.

        It is exact for |V| < 2^23 and ``factor = k / 2^m`` with m <= 12 and k <= 2^m; with at most 13 bits of the
        membrane, for |V| k <= 2^24.

        Args:
            v: numbers on the grid, shape (*N,).
            factor: from 0 to 1, broadcastable to (*N,).
        """
        y = v * factor
        return through(self.rounding(*self._product(v.detach() / self.lsb, factor)) * self.lsb, y)

    def limited(self, u: Tensor) -> Tensor:
        """Return O(u): u within the range."""
        return self.overflow(u, self.low, self.high)

    def _product(self, V: Tensor, factor: Tensor | float) -> tuple[Tensor, Tensor]:
        """Return the floor of ``V factor``, and what is left."""
        if self.membrane_bits <= _FACTOR_BITS + 1:
            return _parts(V * factor)
        # a product of 24 bits and 12 bits does not fit into float32: V = 2^12 head + tail, 0 <= tail < 2^12
        unit = 2.0**_FACTOR_BITS
        head = torch.floor(V / unit)
        whole, part = _parts((V - head * unit) * factor)
        return head * (factor * unit) + whole, part


def _parts(y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the floor of y, and what is left, from 0 to 1."""
    whole = torch.floor(y)
    return whole, y - whole
