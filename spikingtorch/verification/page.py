"""The verification table for readers: a line for each neuron, and a Markdown page with foldable cells."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from spikingtorch.verification.cells import ALLOWED, ALONE, BACKENDS, Cell, neuron_of

QUANTITIES = ("value", "primitive", "derivative", "second derivative", "gradient of the parameter")
HEAD = f"{'':26} {'cells':>5} {'error':>9}   largest in"


class Line(NamedTuple):
    """All cells of a neuron, including its recurrent form, or of a function alone."""

    name: str
    cells: list[Cell]

    def __str__(self) -> str:
        worst = self.worst()
        mark = "   OUT OF TOLERANCE" if self.is_wrong() else ""
        return f"{self.name:26} {self.compared():5} {worst.worst()[0]:9.1e}   {worst.where()}{mark}"

    def compared(self) -> int:
        """Return the number of comparisons."""
        return sum(bool(cell.errors) for cell in self.cells)

    def worst(self) -> Cell:
        """Return the cell with the largest error."""
        return max(self.cells, key=lambda cell: cell.worst()[0])

    def is_wrong(self) -> bool:
        """Return True if a cell is out of tolerance."""
        return any([cell.is_wrong() for cell in self.cells])


def lines(cells: Iterable[Cell]) -> list[Line]:
    """Return the lines of the cells, with the neurons in the given order."""
    found: dict[str, Line] = {}
    for cell in cells:
        name = neuron_of(cell.neuron)
        found.setdefault(name, Line(name, [])).cells.append(cell)
    return list(found.values())


def markdown(table: Sequence[Line]) -> str:
    """Return the table as a page."""
    neurons = [line for line in table if line.cells[0].surrogate != ALONE]
    text = [_PAGE.format(allowed=ALLOWED), "| neuron | cells | largest deviation | in |", "|---|---|---|---|"]
    for line in neurons:
        worst = line.worst()
        text.append(f"| {line.name} | {line.compared()} | {_number(worst.worst()[0])} | {worst.where()} |")
    text += ["", "The cells of each neuron:", ""]
    for line in neurons:
        text += _folded(line)
    text += ["Surrogates and coefficients by themselves:", "", "| function | " + " | ".join(QUANTITIES) + " |"]
    text.append("|---" * (len(QUANTITIES) + 1) + "|")
    for line in (line for line in table if line.cells[0].surrogate == ALONE):
        errors = line.cells[0].errors
        numbers = [_number(errors[name]) if name in errors else "" for name in QUANTITIES]
        text.append(f"| {line.name} | " + " | ".join(numbers) + " |")
    return "\n".join(text) + "\n"


def _folded(line: Line) -> list[str]:
    text = [f"<details><summary>{line.name}: {line.compared()} cells</summary>", ""]
    text += ["| neuron | surrogate | reset | " + " | ".join(BACKENDS) + " |", "|---" * (3 + len(BACKENDS)) + "|"]
    for names, cells in groupby(line.cells, key=lambda cell: (cell.neuron, cell.surrogate, cell.rule)):
        said = [_number(cell.worst()[0]) if cell.errors else "lax.scan" for cell in cells]
        text.append("| " + " | ".join([*names, *said]) + " |")
    return [*text, "", "</details>", ""]


def _number(error: float) -> str:
    return f"{error:.0e}" if error <= ALLOWED else f"**{error:.0e}**"


_PAGE = """# Every comparison of the verification

This page compares every neuron, surrogate and reset rule on every backend with an independent implementation in JAX,
which was written from the equations and runs by `jax.lax.scan`. `loop` and `fused` are backends of
`spikingtorch.functional.scan`. `jax` is the implementation in JAX as one compiled loop, by `spikingtorch.jax.scan`.
A cell is the largest relative deviation, `max|a - b| / max|b|`, of a comparison. It covers the outputs, the final
state, and the gradients of inputs, initial state and every parameter, by random cotangents on all outputs and the final
state. Each run has float64 numbers, 17 steps, and 8 neurons with their own parameters. The allowed deviation is
{allowed:g}.

The cells are a pairwise cover: every neuron meets every surrogate and every reset rule that it takes. Every surrogate
meets every reset rule, and all of them meet every backend. `python -m spikingtorch verify --all` runs the whole
product. A neuron with the name of a synapse behind it is recurrent, and its weights are among the parameters.
In JAX, neurons behind `dense` and `convolution` are not compiled, because they multiply matrices at every step. There
the column *jax* says `lax.scan`.
`refractory_lif`, `relative_refractory_lif`, `masked_lif` and `returning_lif` are `Refractory`, `RelativeRefractory`,
`Masked` and `Returning` around the step of the leaky neuron.

Written by `python -m spikingtorch verify --write docs/verification_table.md`.
"""
