"""Certificate: the result of comparing a network with what it was exported to, as a table."""

from typing import Any, NamedTuple

import torch

from spikingtorch import axes
from spikingtorch.units import in_columns


class Difference(NamedTuple):
    """The first difference between a neuron of the network and of the other side.

    Attributes:
        sample: index of the sample.
        step: index of the step.
        neuron: index of the neuron.
        fires: True if the network fires and the other side does not; False for the opposite.
        miss: distance of the membrane from its threshold.
        rounding: the largest change of it by rounding alone.
    """

    sample: int
    step: int
    neuron: tuple[int, ...]
    fires: bool
    miss: float
    rounding: float


class Row(NamedTuple):
    """One layer of neurons, or the output of the network.

    Attributes:
        name: of the node or layer.
        kind: its class.
        neurons: number of neurons.
        spikes: number of spikes of the network.
        different: entries of the spikes that differ.
        first: the first difference that rounding does not explain, or else the first difference.
        error: for a layer without spikes, the largest difference divided by the rounding bound: up to 1, rounding
            explains it.
        continuous: for equations of NIR, the difference in spikes per neuron between their continuous solution and the
            network, divided by the network's spikes; else None.
    """

    name: str
    kind: str
    neurons: int
    spikes: int = 0
    different: int = 0
    first: Difference | None = None
    error: float | None = None
    continuous: float | None = None


class Certificate(NamedTuple):
    """The result of ``verify_nir``, and of an export to ONNX.

    Attributes:
        rows: the layers.
        samples: N.
        steps: T.
        dtype: of the network's run.
        other: what the network is compared with, as "the graph".
        holds_for: how the other side computes.
        settings: of the comparison, such as the length of a step.
        batch_first: whether the sample was taken as (N, T, ...).
        reader: the library whose reader of NIR is the other side, if one is.
    """

    rows: tuple[Row, ...]
    samples: int
    steps: int
    dtype: torch.dtype
    other: str
    holds_for: str
    settings: str = ""
    batch_first: bool = True
    reader: str | None = None

    @property
    def equal(self) -> bool:
        """Whether all spikes are equal, and all other outputs up to rounding."""
        return all(row.different == 0 for row in self.rows) and self._readouts_agree

    @property
    def within_rounding(self) -> bool:
        """Whether rounding alone can explain each neuron's first difference."""
        first = self.first
        difference: Any = None if first is None else first.first
        return self._readouts_agree and (first is None or bool(difference.miss <= difference.rounding))

    @property
    def first(self) -> Row | None:
        """The row with a difference that rounding does not explain, or else the earliest, if there is one."""
        return min([row for row in self.rows if row.first is not None], key=_rank, default=None)

    @property
    def _readouts_agree(self) -> bool:
        return all(row.error is None or row.error <= 1.0 for row in self.rows)

    def __str__(self) -> str:
        head = ("node", "kind", "neurons", "spikes", "different", "error", "continuous")
        body = [
            (
                row.name,
                row.kind,
                f"{row.neurons:,}",
                f"{row.spikes:,}" if row.error is None else "",
                f"{row.different:,}" if row.error is None else "",
                "" if row.error is None else f"{row.error:.2g}",
                "" if row.continuous is None else f"{row.continuous:.1%}",
            )
            for row in self.rows
        ]
        shown = len(head) if any(row.continuous is not None for row in self.rows) else -1
        table = in_columns([each[:shown] for each in (head, *body)], left=2)
        dtype = str(self.dtype).removeprefix("torch.")
        ran = f"{self.samples} samples of {self.steps} steps{self.settings}, network in {dtype}, "
        ran += f"sample taken as {axes.named(self.batch_first)}"
        return "\n".join([*table, f"{self._verdict()} ({ran})"])

    def _verdict(self) -> str:
        row = self.first
        if row is None:
            if not self._readouts_agree:
                return f"outputs differ by more than rounding {self.holds_for}"
            silent = [each.name for each in self.rows if each.error is None and not each.spikes]
            return f"spikes equal {self.holds_for}" + (f", but {', '.join(silent)} never fired" if silent else "")
        found: Any = row.first
        does = f"fires, and {self.other} does not" if found.fires else f"does not fire, and {self.other} does"
        decided = "rounding decides" if self.within_rounding else f"rounding explains {found.rounding:.1e}"
        return (
            f"spikes differ first at {row.name}, neuron {found.neuron}, sample {found.sample}, step {found.step}: the "
            f"network {does}; the membrane missed the threshold by {found.miss:.1e}, {decided}"
        )


def _rank(row: Row) -> tuple[bool, int]:
    difference: Any = row.first
    return difference.miss <= difference.rounding, difference.step
