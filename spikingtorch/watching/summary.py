"""summary: the layers of a network with their sizes, rates, and the operations and energy that one sample takes."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.watching.counting import Counting, recurrent, weights_of
from spikingtorch.watching.network import Network, check_network
from spikingtorch.watching.recording import record

# energy of an operation on 32-bit floating-point numbers in a 45 nm process, in pJ: an addition, and a multiplication
# and an addition. M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014,
# doi:10.1109/ISSCC.2014.6757323
ADDITION, MULTIPLICATION = 0.9, 3.7
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
        macs: multiplications with an addition of all inputs, a sample and all steps; those of an ANN of this shape.
        synops: additions of a weight for inputs that are not zero, a sample and all steps, in the mean of the batch.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    rate: float | None
    macs: float
    synops: float


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
    def synops(self) -> float:
        """Additions for inputs that are not zero, of a sample."""
        return sum(row.synops for row in self.rows)

    @property
    def macs(self) -> float:
        """Products of all inputs, of a sample, over all steps."""
        return sum(row.macs for row in self.rows)

    @property
    def energy(self) -> float:
        """Energy of the additions of a sample, in nJ."""
        return 1e-3 * self.addition * self.synops

    @property
    def energy_of_ann(self) -> float:
        """Energy of one pass of an ANN of the same shape, in nJ: products of all inputs, for one step."""
        return 1e-3 * self.mac * self.macs / self.steps

    @property
    def not_counted(self) -> str:
        """Sentences on what is not counted."""
        return NOT_COUNTED + (f" No operation was seen of {', '.join(self.unseen)}." if self.unseen else "")

    def __str__(self) -> str:
        head = ("layer", "class", "output", "parameters", "rate", "MACs", "SynOps", "energy (nJ)")
        body = [
            (
                row.name,
                row.kind,
                "x".join(map(str, row.shape)),
                f"{row.parameters:,}",
                "" if row.rate is None else f"{row.rate:.1%}",
                abbreviated(row.macs),
                abbreviated(row.synops),
                abbreviated(1e-3 * self.addition * row.synops),
            )
            for row in self.rows
        ]
        last = ("total", "", "", f"{self.parameters:,}", "", *map(abbreviated, (self.macs, self.synops, self.energy)))
        widths = [max(map(len, column)) for column in zip(head, *body, last, strict=True)]
        sides = [str.ljust] * 3 + [str.rjust] * 5
        lines = [
            "  ".join(side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True)).rstrip()
            for row in (head, *body, last)
        ]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        note = (
            f"For one sample and its {self.steps:g} steps, at {self.addition:g} pJ an addition (45 nm). An ANN of this "
            f"shape: {abbreviated(self.macs / self.steps)} MACs, {abbreviated(self.energy_of_ann)} nJ at "
            f"{self.mac:g} pJ each."
        )
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], "", note, self.not_counted])


def summary(model: Network, x: Tensor, *, addition: float = ADDITION, mac: float | None = None) -> Summary:
    """Run a network once and say what it consists of, how much it fires, and what that takes.

    A spike makes each neuron behind it add one weight: that is a synaptic operation (SynOp). They are counted exactly,
    of linear layers, convolutions (a spike at the border reaches fewer neurons), transposed ones, average pooling and
    recurrent weights, for all inputs that are not zero, graded ones as well, whether weights are parameters or computed
    from them. What several layers share counts as parameters once. The energy is what arithmetic alone would take on
    hardware that skips zeros; nothing is measured.

    Args:
        model: the network. Its state afterwards is that after the call; it is run as it is, in training or not.
        x: inputs, (N, T, ...); numbers are means over the samples.
        addition: energy of an addition, in pJ.
        mac: energy of a multiplication and an addition, in pJ; by default 3.7 pJ and ``addition``.

    Returns:
        A table to be printed; its rows and totals are attributes.

    Raises:
        TypeError: model is no SpikingNet.

    >>> from spikingtorch import LIF, SpikingNet
    >>> model = SpikingNet(nn.Sequential(nn.Linear(3, 4), LIF()))
    >>> found = summary(model, torch.ones(2, 5, 3))
    >>> found.macs, found.synops
    (60.0, 60.0)
    """
    check_network("summary", model)
    counting = Counting(model.net)
    with torch.no_grad():
        # what a compiled part of the network calls would not be seen
        with model.watched(counting), torch.compiler.set_stance("force_eager"):
            recording = record(model, x, "spikes")
        N, T = x.shape[:2]
        rows, unseen = _rows(model.net, counting, recording, N)
    energy = addition + MULTIPLICATION if mac is None else mac
    return Summary(tuple(rows), T, addition, energy, tuple(unseen))


def _rows(
    net: nn.Module, counting: Counting, recording: Mapping[str, Mapping[str, Tensor]], N: int
) -> tuple[list[Row], list[str]]:
    """Return the rows of the layers, and those with weights of which nothing was seen."""
    rows, unseen, known = [], [], set[int]()
    for name, module in net.named_modules():
        own = weights_of(module, recurse=name in recording, seen=known)
        numbers, count = sum(weight.numel() for weight in own), counting.found.get(name)
        shown, kind = name or "(network)", getattr(module, "original_name", type(module).__name__)
        if name in recording:
            spikes = recording[name]["spikes"]
            macs, synops, _ = recurrent(module, spikes)
            rate = float((spikes != 0).double().mean())
            rows.append(Row(name, kind, tuple(spikes.shape[2:]), numbers, rate, macs / N, synops / N))
        elif count is not None:
            rows.append(Row(shown, kind, count.shape, numbers, None, count.macs / N, count.synops / N))
        elif numbers:
            rows.append(Row(shown, kind, (), numbers, None, 0.0, 0.0))
        multiplies = not isinstance(module, StepLayer) and any(weight.ndim > 1 for weight in own)
        if name not in recording and count is None and (multiplies or isinstance(module, torch.jit.ScriptModule)):
            unseen.append(f"{shown} ({kind})")
    if counting.pooled.macs:
        pooled = counting.pooled
        rows.append(Row("(average pooling)", "", pooled.shape, 0, None, pooled.macs / N, pooled.synops / N))
    return rows, unseen


def abbreviated(number: float) -> str:
    """Return a number of operations for people."""
    for unit in ("", "K", "M", "G", "T"):
        if abs(number) < 1000 or unit == "T":
            return f"{number:.3g}{unit}"
        number /= 1000
    raise AssertionError
