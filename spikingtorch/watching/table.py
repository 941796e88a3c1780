"""The table of a summary, with the operations and the energy of one sample."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

from spikingtorch.units import abbreviated, in_columns, quantity
from spikingtorch.watching.operations import NOTHING, Count

# energy of an operation on 32-bit floating-point numbers in a 45 nm process, in pJ: an addition, and a multiplication;
# a MAC needs both. M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014,
# doi:10.1109/ISSCC.2014.6757323
ADDITION, MULTIPLICATION = 0.9, 3.7
HEAD = ("layer", "class", "output", "parameters", "rate", "dense", "ACs", "MACs", "energy")
NOT_COUNTED = (
    "Not counted: neurons, biases, normalisations, pooling by maximum, attention, memory traffic; products other than "
    "linear layers and convolutions."
)


class Row(NamedTuple):
    """One layer.

    Attributes:
        name: in the network.
        kind: its class.
        shape: of its output for one sample and step.
        parameters: the number of its parameters and constant weights.
        rate: share of nonzero outputs of a spiking layer; None for other layers, and for a layer that does not spike,
            such as LI.
        counts: operations of a sample over all steps, as the mean of the batch, one for each place of the network that
            calls the layer.
        weight_bytes: what its parameters take; rounded weights, as of ``quantize.prepare_qat``, take their bits.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    rate: float | None
    counts: tuple[Count, ...] = ()
    weight_bytes: int = 0

    @property
    def dense(self) -> float:
        """Products of all inputs: the operations of an ANN of this shape at each step."""
        return sum(count.dense for count in self.counts)

    @property
    def acs(self) -> float:
        """Additions of a weight, for inputs that are spikes."""
        return sum(count.acs for count in self.counts)

    @property
    def macs(self) -> float:
        """Multiplications with an addition, for graded inputs that are not zero."""
        return sum(count.macs for count in self.counts)


class Summary(NamedTuple):
    """The result of ``summary``.

    Attributes:
        rows: the layers in the order of their definition.
        steps: T; the mean if a report combines samples of different lengths.
        addition: energy of an addition, in pJ.
        mac: energy of a multiplication and an addition, in pJ.
        unseen: layers whose weights were in no operation that was seen, for instance scripted layers.
    """

    rows: tuple[Row, ...]
    steps: float
    addition: float
    mac: float
    unseen: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(row.parameters for row in self.rows)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all parameters; rounded weights take their bits."""
        return sum(row.weight_bytes for row in self.rows)

    @property
    def dense(self) -> float:
        """Products of all inputs, of a sample, over all steps."""
        return sum(row.dense for row in self.rows)

    @property
    def acs(self) -> float:
        """Additions of a weight for spikes, of a sample."""
        return sum(row.acs for row in self.rows)

    @property
    def macs(self) -> float:
        """Multiplications with an addition for graded inputs, of a sample."""
        return sum(row.macs for row in self.rows)

    @property
    def synops(self) -> float:
        """Synaptic operations of a sample, of both kinds."""
        return self.acs + self.macs

    @property
    def energy(self) -> float:
        """Energy of the operations of a sample, in nJ."""
        return sum(map(self.energy_of, self.rows))

    @property
    def energy_of_ann(self) -> float:
        """Energy of one pass of an ANN of this shape, in nJ: products of all inputs, for one step."""
        return 1e-3 * self.mac * self.dense / self.steps

    @property
    def beside_ann(self) -> str:
        """The energy as a multiple of the ANN's; empty if the ANN has no operations."""
        of_ann = self.energy_of_ann
        return f"{self.energy / of_ann:.2g} times" if of_ann else ""

    def energy_of(self, row: Row) -> float:
        """Return the energy of the operations of one layer, in nJ."""
        return 1e-3 * (self.addition * row.acs + self.mac * row.macs)

    @property
    def not_counted(self) -> str:
        """Sentences about operations that are not counted."""
        return NOT_COUNTED + (f" No operation was seen of {', '.join(self.unseen)}." if self.unseen else "")

    @property
    def in_memory(self) -> str:
        """A sentence about the bytes of the weights."""
        return f"Weights: {self.weight_bytes:,} bytes; rounded ones take their bits."

    def __str__(self) -> str:
        *lines, last, rule = in_columns([HEAD, *map(self.cells, self.rows), self.last], left=3)
        ratio = f"; the spiking network takes {self.beside_ann} as much" if self.beside_ann else ""
        notes = [
            self.in_memory,
            f"For one sample and its {self.steps:g} steps: additions for spikes (ACs) at {self.addition:g} pJ, "
            f"multiply-adds for graded inputs (MACs) at {self.mac:g} pJ (45 nm).",
            f"An ANN of this shape: {abbreviated(self.dense / self.steps)} MACs, {_joules(self.energy_of_ann)}{ratio}.",
        ]
        return "\n".join([*lines, rule, last, "", *notes, self.not_counted])

    def cells(self, row: Row) -> tuple[str, ...]:
        """Return the texts of a row of the table, under ``HEAD``."""
        shape, rate = "x".join(map(str, row.shape)), "" if row.rate is None else f"{row.rate:.1%}"
        numbers = map(abbreviated, (row.dense, row.acs, row.macs))
        return (row.name, row.kind, shape, f"{row.parameters:,}", rate, *numbers, _joules(self.energy_of(row)))

    @property
    def last(self) -> tuple[str, ...]:
        """The texts of the last row: the totals."""
        numbers = map(abbreviated, (self.dense, self.acs, self.macs))
        return ("total", "", "", f"{self.parameters:,}", "", *numbers, _joules(self.energy))


def merged(tables: Sequence[tuple[Summary, int]]) -> Summary:
    """Return the summary of all samples, from summaries of parts with their numbers of samples.

    Whether inputs are spikes is decided over all of them.

    >>> from spikingtorch.watching.operations import Count
    >>> row = Row("l1", "LIF", (2,), 0, 0.5, (Count(4.0, 2.0, 1.0, 1.0),))
    >>> other = row._replace(rate=0.1, counts=(Count(4.0, 6.0, 1.0, 1.0),))
    >>> both = merged([(Summary((row,), 4, 1.0, 2.0), 3), (Summary((other,), 4, 1.0, 2.0), 1)])
    >>> both.rows[0].rate, both.rows[0].acs
    (0.4, 3.0)
    >>> merged([(Summary((row,), 1, 1.0, 2.0), 1), (Summary((row,), 2, 1.0, 2.0), 1)]).steps
    1.5
    """
    samples = sum(count for _, count in tables)
    steps = sum(table.steps * count for table, count in tables)
    rows: dict[str, Row] = {}
    for table, count in tables:
        for row in table.rows:
            before = rows.get(row.name, row._replace(rate=None if row.rate is None else 0.0, counts=()))
            rate = None if row.rate is None else (before.rate or 0.0) + row.rate * table.steps * count / steps
            here = [each.share(count, samples) for each in row.counts]
            counts = [one.plus(other) for one, other in zip_longest(before.counts, here, fillvalue=NOTHING)]
            rows[row.name] = row._replace(rate=rate, counts=tuple(counts))
    unseen = tuple([name for name in tables[0][0].unseen if all(name in table.unseen for table, _ in tables)])
    return tables[0][0]._replace(rows=tuple(rows.values()), steps=steps / samples, unseen=unseen)


def _joules(nanojoules: float) -> str:
    """Return an energy with the prefix that fits."""
    return quantity(1e-9 * nanojoules, "J")
