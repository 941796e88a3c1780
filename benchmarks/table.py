"""Tables that read well in a terminal and as Markdown."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.case import Timing


@dataclass(frozen=True)
class Table:
    """A table with a title.

    Args:
        title: what it shows.
        header: names of the columns; the first column is text, the others are numbers.
        rows: cells, as many in each as the header has.
        note: a sentence below it.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def __str__(self) -> str:
        """Return it as Markdown with aligned columns."""
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        lines = [self._line(cells, widths) for cells in (self.header, rule, *self.rows)]
        return "\n".join([f"### {self.title}", "", *lines, *(["", self.note] if self.note else []), ""])

    @staticmethod
    def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
        padded = [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
        return f"| {' | '.join(padded)} |"


def milliseconds(timing: Timing) -> str:
    """Return the median and, in brackets, the minimum; and what the budget did to them."""
    if not timing.samples and math.isnan(timing.first):
        return "not measured"
    if not timing.samples:
        return f"over budget, > {timing.first:.0f} s"
    digits = 2 if timing.median < 0.01 else 1
    text = f"{1e3 * timing.median:.{digits}f} ({1e3 * timing.best:.{digits}f})"
    if not timing.over_budget:
        return text
    return f"{text}, over budget after {len(timing.samples)}"


def rate(timing: Timing, count: int) -> str:
    """Return how many of what a call does count times it does in a second: by the median, and in brackets at best."""
    if not timing.samples:
        return f"over budget, < {count / timing.first:.0f}"
    text = f"{count / timing.median:.0f} ({count / timing.best:.0f})"
    return f"{text}, over budget after {len(timing.samples)}" if timing.over_budget else text


def megabytes(count: float) -> str:
    """Return a number of bytes."""
    return f"{count / 1e6:.1f}"


def times(ratio: float) -> str:
    """Return a ratio."""
    return f"{ratio:.2f}x"
