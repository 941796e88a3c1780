"""Fixed-point numbers: whole numbers in floating point, their roundings, their overflow, and their format."""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from spikingtorch.functional.core.compare import compared_by_type
from spikingtorch.functional.jax_reference.spike import Parameter

__all__ = ["FixedPoint", "Overflow", "Rounding", "overflow_to_nan", "round_floor", "round_half_even"]
__all__ += ["round_half_up", "round_trunc", "saturate", "wrap"]


class Rounding(Protocol):
    """A rule that gives the whole number next to ``whole + part``, where part is from 0 to 1."""

    def __call__(self, whole: jax.Array, part: jax.Array, /) -> jax.Array:
        """Return the number in the shape of whole."""
        ...


class Overflow(Protocol):
    """A rule for numbers outside of the range from low to high."""

    def __call__(self, u: jax.Array, low: float, high: float, /) -> jax.Array:
        """Return a number within the range, or NaN, in the shape of u."""
        ...


def round_floor(whole: jax.Array, part: jax.Array) -> jax.Array:
    """Return the largest whole number that is not above ``whole + part``."""
    return whole


def round_trunc(whole: jax.Array, part: jax.Array) -> jax.Array:
    """Return the whole number towards zero from ``whole + part``."""
    return jnp.where(whole < 0, whole + jnp.ceil(part), whole)


def round_half_up(whole: jax.Array, part: jax.Array) -> jax.Array:
    """Return the nearest whole number, the upper one of two."""
    return jnp.where(2 * part < 1, whole, whole + 1)


def round_half_even(whole: jax.Array, part: jax.Array) -> jax.Array:
    """Return the nearest whole number, the even one of two."""
    even = 2 * jnp.floor(whole / 2)
    # From 0 to 2: only 1 is odd.
    rest = whole - even + part
    return even + jnp.where(2 * rest <= 1, 0, jnp.where(2 * rest < 3, 1, 2))


def saturate(u: jax.Array, low: float, high: float) -> jax.Array:
    """Return u between low and high; its gradient is 1 from low to high, both included, and 0 outside."""
    return jnp.where(u < low, low, jnp.where(u > high, high, u))


def wrap(u: jax.Array, low: float, high: float) -> jax.Array:
    """Return the number from low to -low that differs from u by a multiple of -2 low; its gradient is 1."""
    turns = jnp.floor(u / (-2 * low))
    # from 0 to -2 low; the upper half of it stands for negative numbers
    rest = u - turns * (-2 * low)
    return _held(jnp.where(rest >= -low, rest + 2 * low, rest), u)


def overflow_to_nan(u: jax.Array, low: float, high: float) -> jax.Array:
    """Return NaN for u below low or above high; its gradient is 0 there, and 1 elsewhere."""
    return jnp.where((u < low) | (u > high), jnp.nan, u)


@compared_by_type
class FixedPoint(NamedTuple):
    """Format of numbers with ``fraction_bits`` bits after the point, of ``membrane_bits`` in all with the sign."""

    fraction_bits: int = 8
    membrane_bits: int = 16
    rounding: Rounding = round_floor
    overflow: Overflow = saturate

    @property
    def lsb(self) -> float:
        """The least positive number."""
        return 2.0**-self.fraction_bits

    @property
    def low(self) -> float:
        """The least number."""
        return -self.lsb * 2.0 ** (self.membrane_bits - 1)

    @property
    def high(self) -> float:
        """The greatest number."""
        return self.lsb * (2.0 ** (self.membrane_bits - 1) - 1.0)

    def rounded(self, x: jax.Array) -> jax.Array:
        """Return x, rounded to a multiple of lsb; its gradient is 1."""
        return _held(self._of(x * 2.0**self.fraction_bits, 0.0), x)

    def scaled(self, v: jax.Array, factor: Parameter) -> jax.Array:
        """Return v times a factor from 0 to 1, rounded to a multiple of lsb; its gradient is that of the product.

        v is a multiple of lsb, below 2^23 lsb, and the factor one of 2^-12.
        """
        V = v * 2.0**self.fraction_bits
        # A multiple of 2^12 times a multiple of 2^-12 is whole, and what is left of V is small.
        large = jnp.floor(V / 4096) * 4096 if self.membrane_bits > 13 else jnp.zeros_like(V)
        return _held(self._of((V - large) * factor, large * factor), v * factor)

    def limited(self, u: jax.Array) -> jax.Array:
        """Return u within the range."""
        return self.overflow(u, self.low, self.high)

    def _of(self, y: jax.Array, whole: Parameter) -> jax.Array:
        below = jnp.floor(y)
        return self.rounding(whole + below, y - below) * self.lsb


def _held(value: jax.Array, x: jax.Array) -> jax.Array:
    """Return the value, with the derivative of x."""
    # The bracket is exactly zero: it adds only its derivative.
    return jax.lax.stop_gradient(value) + (x - jax.lax.stop_gradient(x))
