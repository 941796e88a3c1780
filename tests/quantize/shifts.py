"""Rounding and overflow as C computes them, in Python's integers: shifts, sums and comparisons of int32 alone.

No division, no right shift of a negative number, and an assertion wherever a number would leave int32. A product is
cut into quotient and remainder, from which each rounding follows, because a sum of rounded parts is not the rounded
sum: half of an odd number rounds to even in another direction.
"""

INT32 = range(-(2**31), 2**31)


def int32(value: int) -> int:
    assert value in INT32, f"{value} does not fit into int32"
    return value


def below(value: int, bits: int) -> int:
    """Return value / 2**bits, rounded down."""
    return value >> bits if value >= 0 else ~(~value >> bits)


def quotient(value: int, k: int, bits: int) -> tuple[int, int]:
    """Return q and r of ``value k = q 2**bits + r`` with 0 <= r < 2**bits."""
    high = below(value, bits)
    low = value - int32(high << bits)
    part = int32(low * k)
    return int32(int32(high * k) + (part >> bits)), part & ((1 << bits) - 1)


def decayed(value: int, k: int, bits: int, rounding: str) -> int:
    """Return value k / 2**bits, rounded, for k >= 0."""
    q, r = quotient(value, k, bits)
    twice, whole = r << 1, 1 << bits
    up = {
        "floor": False,
        "trunc": q < 0 and r != 0,
        "half_up": twice >= whole,
        "half_even": twice > whole or (twice == whole and q & 1 == 1),
    }
    return q + up[rounding]


def wrapped(value: int, bits: int) -> int:
    """Return the number of some bits, in two's complement, that value is modulo ``2**bits``."""
    half = 1 << (bits - 1)
    return ((value + half) & ((1 << bits) - 1)) - half


def saturated(value: int, bits: int) -> int:
    """Return the number of some bits, in two's complement, that is nearest to value."""
    half = 1 << (bits - 1)
    return -half if value < -half else half - 1 if value >= half else value
