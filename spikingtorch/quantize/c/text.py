"""Pieces of C text: types that hold proven bounds, constants, tables, and quotients without a division."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

BYTES = {"int8_t": 1, "uint8_t": 1, "int16_t": 2, "uint16_t": 2, "int32_t": 4, "uint32_t": 4, "int64_t": 8}


def signed(low: int, high: int) -> str:
    """Return the smallest signed type that holds all numbers from low to high."""
    for bits in (8, 16, 32, 64):
        if -(1 << bits - 1) <= low and high < 1 << bits - 1:
            return f"int{bits}_t"
    raise ValueError(f"no type of C has room for numbers from {low} to {high}")


def unsigned(high: int) -> str:
    """Return the smallest unsigned type that holds all numbers up to high."""
    for bits in (8, 16, 32):
        if high < 1 << bits:
            return f"uint{bits}_t"
    raise ValueError(f"no index of C reaches {high}")


def index_of(size: int) -> str:
    """Return the smallest type of a place among ``size``."""
    return unsigned(size - 1)


def number(value: int) -> str:
    """Return a number as a constant of C; the most negative ones have no constant of their own."""
    if value in (-(1 << 31), -(1 << 63)):
        return f"({number(value + 1)} - 1)"
    return f"{value}LL" if not -(1 << 31) <= value < 1 << 31 else str(value)


class Tables:
    """Constants of a program, each with the smallest type for it, and their bytes."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.sizes: dict[str, int] = {}

    def add(self, name: str, values: NDArray[Any], index: bool = False) -> str:
        """Declare an array and return its type; ``index`` asks for an unsigned one."""
        flat = np.asarray(values).ravel()
        low, high = (int(flat.min()), int(flat.max())) if flat.size else (0, 0)
        kind = unsigned(high) if index else signed(low, high)
        self.sizes[name] = flat.size * BYTES[kind]
        self.lines.append(f"static const {kind} {name}[{max(flat.size, 1)}] = {{")
        text = [number(int(value)) for value in flat] or ["0"]
        self.lines += [f"    {', '.join(text[first : first + 16])}," for first in range(0, len(text), 16)]
        self.lines.append("};")
        return kind

    def entry(self, name: str, values: Any, position: str, index: bool = False) -> str:
        """Return the text of a neuron's own number: a constant if all have the same, else an entry of a table."""
        flat = np.asarray(values).ravel()
        if (flat == flat[0]).all():
            return number(int(flat[0])) + "u" * index
        self.add(name, flat, index)
        return f"{name}[{position}]"


def quotient(text: str, divisor: int, size: int) -> str:
    """Return C for ``text / divisor`` of whole numbers below ``size``, by a product and a shift, checked for each."""
    if divisor == 1:
        return text
    if size <= divisor:
        return "0u"
    if divisor & (divisor - 1) == 0:
        return f"({text} >> {divisor.bit_length() - 1})"
    every = np.arange(size, dtype=np.uint64)
    for shift in range(8, 48):
        factor = -(-(1 << shift) // divisor)
        if (every * np.uint64(factor) >> np.uint64(shift) == every // np.uint64(divisor)).all():
            if factor * (size - 1) < 1 << 32:
                return f"({text} * {factor}u >> {shift})"
            return f"(uint32_t)((uint64_t){text} * {factor}u >> {shift})"
    raise ValueError(f"no product for a division by {divisor} up to {size}")
