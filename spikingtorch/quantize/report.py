"""A table of a network in whole numbers: bits, bounds, bytes and the worst cost of a step."""

from typing import NamedTuple

import numpy as np

from spikingtorch.quantize.c import needs_of
from spikingtorch.quantize.c.header import Needs
from spikingtorch.quantize.network import WholeNetwork
from spikingtorch.quantize.neurons import Neuron, Node
from spikingtorch.quantize.nodes import Conv2d, Ints, Linear
from spikingtorch.quantize.proof import bounds_of
from spikingtorch.units import in_columns

HEAD = ("node", "kind", "output", "grid", "bits", "bound", "additions", "updates", "instructions")


class ReportRow(NamedTuple):
    """One node.

    Attributes:
        name, kind: of the node.
        shape: of its output for a sample.
        grid: the exponent e of its numbers 2**-e.
        bits: of the weights with a sign, or of the membranes; 0 without any.
        bound: proven largest sum, in its finest unit; None for a node that adds nothing.
        additions, updates, instructions: at worst in a step; the bound of instructions is for the C.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    grid: int
    bits: int
    bound: int | None
    additions: int
    updates: int
    instructions: int


class Report(NamedTuple):
    """The result of ``IntegerModel.report``: rows by node, and what the C needs."""

    rows: tuple[ReportRow, ...]
    needs: Needs

    def cells(self, row: ReportRow) -> tuple[str, ...]:
        """Return the texts of a row of the table."""
        return (
            *row[:2],
            "x".join(map(str, row.shape)),
            f"2^{-row.grid}",
            str(row.bits or ""),
            "" if row.bound is None else f"{row.bound:,}",
            *[f"{number:,}" if number else "" for number in row[6:]],
        )

    @property
    def needed(self) -> tuple[str, str]:
        """The bytes that the C needs, and the cost of a step at worst, in words."""
        needs, cost = self.needs, self.needs.cost
        return (
            f"C: {needs.constant_bytes:,} bytes of constants in flash, beside the instructions; "
            f"{needs.memory_bytes:,} bytes of RAM, beside the stack",
            f"a step at worst: {cost.additions:,} additions, {cost.updates:,} updates, fewer than "
            f"{cost.instructions:,} instructions of a Cortex-M0, Cortex-M4 or RV32 processor",
        )

    def __str__(self) -> str:
        return "\n".join([*in_columns([HEAD, *map(self.cells, self.rows)], left=3), *self.needed])


def report_of(integer: WholeNetwork) -> Report:
    """Return the table of a network.

    Raises:
        IntegerError: the bounds of sums cannot be proven for float32.
    """
    needs, bounds = needs_of(integer), bounds_of(integer)
    rows = []
    for node, shape, exponent in zip(integer.nodes, integer.shapes[1:], integer.exponents, strict=True):
        grid = node.fraction_bits if isinstance(node, Neuron) else exponent
        cost = needs.costs.get(node.name, (0, 0, 0))
        kind = node.kind if isinstance(node, Neuron) else type(node).__name__
        rows.append(ReportRow(node.name, kind, shape, grid, _bits(node), bounds.get(node.name), *cost))
    return Report(tuple(rows), needs)


def _bits(node: Node) -> int:
    if isinstance(node, Neuron):
        return (node.high - node.low).bit_length()
    return bits_of(node.weight) if isinstance(node, Linear | Conv2d) else 0


def bits_of(weight: Ints) -> int:
    """Return the bits that weights need with a sign."""
    whole = weight.astype(np.int64)
    return max(int(np.abs(np.where(whole < 0, whole + 1, whole)).max()).bit_length() + 1, 1) if whole.size else 0
