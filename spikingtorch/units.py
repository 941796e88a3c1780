"""Format numbers for people, with three digits and SI prefixes, and texts in columns."""

import math
from collections.abc import Sequence

# powers of 1000 from -5 to 6
_PREFIXES = ("f", "p", "n", "\N{MICRO SIGN}", "m", "", "k", "M", "G", "T", "P", "E")
_NONE = _PREFIXES.index("")


def abbreviated(count: float) -> str:
    """Return a large count, such as a number of operations.

    >>> abbreviated(0.25), abbreviated(999.4), abbreviated(999.6), abbreviated(1_450_000)
    ('0.25', '999', '1k', '1.45M')
    """
    number, prefix = _scaled(count, lowest=0)
    return number + prefix


def quantity(value: float, unit: str) -> str:
    """Return a quantity with its unit.

    >>> quantity(4.34e-6, "J"), quantity(5.44e-9, "J"), quantity(0.0, "J"), quantity(51_200, "B")
    ('4.34 µJ', '5.44 nJ', '0 J', '51.2 kB')
    """
    number, prefix = _scaled(value, lowest=-_NONE)
    return f"{number} {prefix}{unit}"


def counted(number: int, noun: str, nouns: str = "") -> str:
    """Return a number with its noun.

    >>> counted(1, "sample"), counted(1200, "sample"), counted(2, "batch", "batches")
    ('1 sample', '1,200 samples', '2 batches')
    """
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def percent(share: float) -> str:
    """Return a share as a percentage, never rounded to 0% or 100%.

    >>> percent(0.0), percent(0.0004), percent(0.376), percent(0.9999), percent(1.0)
    ('0%', '< 0.1%', '37.6%', '> 99.9%', '100%')
    """
    if 0.0 < share < 0.001:
        return "< 0.1%"
    if 0.999 < share < 1.0:
        return "> 99.9%"
    return f"{100 * share:.3g}%"


def in_columns(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Return the lines of a table, its first columns flush left and the others right, with rules after head and end."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = [str.ljust] * left + [str.rjust] * (len(widths) - left)
    aligned = [list(zip(sides, row, widths, strict=True)) for row in rows]
    head, *lines = ["  ".join(side(cell, width) for side, cell, width in row).rstrip() for row in aligned]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return [head, rule, *lines, rule]


def _scaled(value: float, lowest: int) -> tuple[str, str]:
    """Return the digits of a number and its prefix, at least the prefix of ``lowest``."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}", ""
    # rounded first, because 999.6 with three digits is 1.00 k, not 1000
    rounded = f"{value:.2e}"
    power = min(max(int(rounded.partition("e")[2]) // 3, lowest), len(_PREFIXES) - 1 - _NONE)
    return f"{float(rounded) / 1000.0**power:.3g}", _PREFIXES[_NONE + power]
