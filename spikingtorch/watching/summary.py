"""summary: the layers of a network with their sizes, rates, and the operations and energy that one sample takes."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.watching.copies import copy_to_watch
from spikingtorch.watching.counting import Count, Counting, recurrent, weights_of
from spikingtorch.watching.network import Network, check_network
from spikingtorch.watching.recording import record

# energy of an operation on 32-bit floating-point numbers in a 45 nm process, in pJ: an addition, and a multiplication,
# both of which a product takes. M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014,
# doi:10.1109/ISSCC.2014.6757323
ADDITION, MULTIPLICATION = 0.9, 3.7
HEAD = ("layer", "class", "output", "parameters", "rate", "dense", "ACs", "MACs", "energy (nJ)")
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
        parameters: how many numbers it learns or keeps as weights.
        rate: share of neurons and steps in which a spiking layer's output is not zero; None for another one.
        counts: operations of a sample and all steps, in the mean of the batch, one for each place of the network that
            calls the layer.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    rate: float | None
    counts: tuple[Count, ...] = ()

    @property
    def dense(self) -> float:
        """Products of all inputs, those of an ANN of this shape at each step."""
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
    """What ``summary`` returns.

    Attributes:
        rows: the layers in the order of their definition.
        steps: T; the mean where a report has put samples of several lengths together.
        addition: energy of one, in pJ.
        mac: energy of a multiplication and an addition, in pJ.
        unseen: layers with weights of which no operation was seen, scripted ones for instance.
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
        """Energy of one pass of an ANN of the same shape, in nJ: products of all inputs, for one step."""
        return 1e-3 * self.mac * self.dense / self.steps

    @property
    def beside_ann(self) -> str:
        """The energy as a multiple of that of the ANN; empty if that has no operations."""
        of_ann = self.energy_of_ann
        return f"{self.energy / of_ann:.2g} times" if of_ann else ""

    def energy_of(self, row: Row) -> float:
        """Return the energy of the operations of one layer, in nJ."""
        return 1e-3 * (self.addition * row.acs + self.mac * row.macs)

    @property
    def not_counted(self) -> str:
        """Sentences on what is not counted."""
        return NOT_COUNTED + (f" No operation was seen of {', '.join(self.unseen)}." if self.unseen else "")

    def __str__(self) -> str:
        rows = [HEAD, *map(self.cells, self.rows), self.last]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        sides = [str.ljust] * 3 + [str.rjust] * (len(HEAD) - 3)
        lines = [
            "  ".join(side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True)).rstrip()
            for row in rows
        ]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        ratio = f"; the spiking network takes {self.beside_ann} as much" if self.beside_ann else ""
        notes = [
            f"For one sample and its {self.steps:g} steps: additions for spikes (ACs) at {self.addition:g} pJ, "
            f"multiply-adds for graded inputs (MACs) at {self.mac:g} pJ (45 nm).",
            f"An ANN of this shape: {abbreviated(self.dense / self.steps)} MACs, {abbreviated(self.energy_of_ann)} nJ"
            f"{ratio}.",
        ]
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], "", *notes, self.not_counted])

    def cells(self, row: Row) -> tuple[str, ...]:
        """Return the texts of a row of the table, under ``HEAD``."""
        shape, rate = "x".join(map(str, row.shape)), "" if row.rate is None else f"{row.rate:.1%}"
        numbers = map(abbreviated, (row.dense, row.acs, row.macs, self.energy_of(row)))
        return (row.name, row.kind, shape, f"{row.parameters:,}", rate, *numbers)

    @property
    def last(self) -> tuple[str, ...]:
        """The texts of the last row, the totals."""
        numbers = map(abbreviated, (self.dense, self.acs, self.macs, self.energy))
        return ("total", "", "", f"{self.parameters:,}", "", *numbers)


def summary(model: Network, x: Tensor, *, addition: float = ADDITION, mac: float | None = None) -> Summary:
    """Run a network once and say what it consists of, how much it fires, and what that takes.

    A spike makes each neuron behind it add one weight, an AC; a graded input is multiplied by the weight first, a MAC.
    Inputs of a layer are spikes if all that are not zero have one magnitude, {0, c} or {-c, 0, c}, at all samples and
    steps of the call; others, such as pixels and what average pooling gives out, are graded. Both are counted exactly,
    of linear layers, convolutions (a spike at the border reaches fewer neurons), transposed ones, average pooling and
    recurrent weights, where neither the input nor the weight is zero, whether weights are parameters or computed from
    them. What several layers share counts as parameters once. The energy is what arithmetic alone would take on
    hardware that skips zeros; nothing is measured.

    Args:
        model: the network. A copy of it runs, in training or not as it is; states, statistics, random numbers and all
            else stay as they were.
        x: inputs, (N, T, ...); numbers are means over the samples.
        addition: energy of an addition, in pJ.
        mac: energy of a multiplication and an addition, in pJ; by default 3.7 pJ and ``addition``.

    Returns:
        A table to be printed; its rows and totals are attributes.

    Raises:
        TypeError: model is no SpikingNet, or cannot be copied.
        ValueError: x holds no samples.

    >>> from spikingtorch import LIF, SpikingNet
    >>> model = SpikingNet(nn.Sequential(nn.Linear(3, 4), LIF()))
    >>> found = summary(model, torch.ones(2, 5, 3))
    >>> found.dense, found.acs, found.macs
    (60.0, 60.0, 0.0)
    """
    check_network("summary", model)
    if not x.shape[0]:
        raise ValueError(f"summary: x has shape {tuple(x.shape)}, which holds no samples to take the mean of")
    with copy_to_watch("summary", model, x) as copied:
        return summary_of_run(copied, x.clone(), addition, mac)


@torch.no_grad()
def summary_of_run(model: Any, x: Tensor, addition: float = ADDITION, mac: float | None = None) -> Summary:
    """Run a network itself, and return its summary."""
    counting = Counting(model.net)
    # what a compiled part of the network calls would not be seen
    with model.watched(counting), torch.compiler.set_stance("force_eager"):
        recording = record(model, x, "spikes")
    rows, unseen = _rows(model.net, counting, recording, len(x))
    energy = addition + MULTIPLICATION if mac is None else mac
    return Summary(tuple(rows), x.shape[1], addition, energy, tuple(unseen))


def _rows(
    net: nn.Module, counting: Counting, recording: Mapping[str, Mapping[str, Tensor]], N: int
) -> tuple[list[Row], list[str]]:
    """Return the rows of the layers, and those with weights of which nothing was seen."""
    rows, unseen, known = [], [], set[int]()
    for name, module in net.named_modules():
        own = weights_of(module, recurse=name in recording, seen=known)
        numbers, counts = sum(weight.numel() for weight in own), counting.found.get(name, [])
        row = Row(name or "(network)", getattr(module, "original_name", type(module).__name__), (), numbers, None)
        if isinstance(module, StepLayer) and name in recording:
            spikes = recording[name]["spikes"]
            rate, counts = float((spikes != 0).double().mean()), [recurrent(module, spikes)]
            rows.append(row._replace(name=name, shape=tuple(spikes.shape[2:]), rate=rate, counts=_of_one(counts, N)))
        elif counts:
            rows.append(row._replace(shape=counts[-1].shape, counts=_of_one(counts, N)))
        elif numbers:
            rows.append(row)
        multiplies = not isinstance(module, StepLayer) and any(weight.ndim > 1 for weight in own)
        if name not in recording and not counts and (multiplies or isinstance(module, torch.jit.ScriptModule)):
            unseen.append(f"{row.name} ({row.kind})")
    if pooled := counting.found.get(None):
        rows.append(Row("(average pooling)", "", pooled[-1].shape, 0, None, _of_one(pooled, N)))
    return rows, unseen


def _of_one(counts: Iterable[Count], N: int) -> tuple[Count, ...]:
    """Return the operations of one sample, those of N in the mean."""
    return tuple([count.share(1, N) for count in counts])


def abbreviated(number: float) -> str:
    """Return a number of operations for people."""
    for unit in ("", "K", "M", "G", "T"):
        if abs(number) < 1000 or unit == "T":
            return f"{number:.3g}{unit}"
        number /= 1000
    raise AssertionError
