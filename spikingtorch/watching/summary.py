"""The summary of a network: its layers with sizes, rates, and the operations and energy of one sample."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain, zip_longest
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikingtorch.axes import samples_first, sizes
from spikingtorch.functional.core.modes import within
from spikingtorch.functional.core.surroundings import uncompiled
from spikingtorch.layers.delayed import DelayedLinear
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.units import abbreviated, in_columns, quantity
from spikingtorch.watching.network import Network, check_network, check_sequences, on_copy
from spikingtorch.watching.operations import NOTHING, Count, Counting, bytes_of, recurrent, weights_of
from spikingtorch.watching.processes import gathered
from spikingtorch.watching.recording import record

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
            f"An ANN of this shape: {abbreviated(self.dense / self.steps)} MACs, {joules(self.energy_of_ann)}{ratio}.",
        ]
        return "\n".join([*lines, rule, last, "", *notes, self.not_counted])

    def cells(self, row: Row) -> tuple[str, ...]:
        """Return the texts of a row of the table, under ``HEAD``."""
        shape, rate = "x".join(map(str, row.shape)), "" if row.rate is None else f"{row.rate:.1%}"
        numbers = map(abbreviated, (row.dense, row.acs, row.macs))
        return (row.name, row.kind, shape, f"{row.parameters:,}", rate, *numbers, joules(self.energy_of(row)))

    @property
    def last(self) -> tuple[str, ...]:
        """The texts of the last row: the totals."""
        numbers = map(abbreviated, (self.dense, self.acs, self.macs))
        return ("total", "", "", f"{self.parameters:,}", "", *numbers, joules(self.energy))


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


def joules(nanojoules: float) -> str:
    """Return an energy with the prefix that fits."""
    return quantity(1e-9 * nanojoules, "J")


def summary(
    model: Network, x: Tensor, *, addition: float = ADDITION, mac: float | None = None, group: Any = None
) -> Summary:
    """Run a network once, and return its layers, rates, operations and energy.

    For a spike, each neuron that it reaches adds one weight: an AC. A graded input is multiplied by the weight first: a
    MAC. Inputs of a layer are spikes if all nonzero values of the call have one magnitude: {0, c} or {-c, 0, c}. Other
    inputs, such as pixels and the output of average pooling, are graded. Operations are counted exactly where neither
    the input nor the weight is zero. The count covers linear layers, convolutions (a spike at the border reaches fewer
    neurons), transposed convolutions, average pooling, recurrent weights and ``DelayedLinear``, where a spike counts
    for each step at which a kernel lets it arrive. Weights may be parameters or computed from
    them. Parameters that several layers share count once. The energy is the energy of arithmetic alone on hardware that
    skips zeros. Nothing is measured.

    The bytes of the weights are those of all parameters in their dtype. Weights that ``quantize.prepare_qat`` rounds
    take as many bits as they are rounded to, and their scales, which are powers of two, nothing.

    Args:
        model: the network. A copy of it runs, in the same training mode; states, statistics, random numbers and all
            else stay unchanged.
        x: inputs of the network; the numbers are means over its samples.
        addition: energy of an addition, in pJ.
        mac: energy of a multiplication and an addition, in pJ; by default 3.7 pJ and ``addition``.
        group: a process group of ``torch.distributed``, such as ``torch.distributed.group.WORLD``, whose processes have
            the same network and other samples. The numbers are then means over the samples of all of them. All call it,
            also one whose x has no samples.

    Returns:
        A table to print; its rows and totals are attributes.

    Raises:
        TypeError: model is not a SpikingNet, or cannot be copied; x is not a floating tensor.
        ValueError: x has another shape, or no samples.
        RuntimeError: another process of the group has raised an error.

    >>> from spikingtorch import LIF, SpikingNet
    >>> model = SpikingNet(nn.Sequential(nn.Linear(3, 4), LIF()))
    >>> found = summary(model, torch.ones(2, 5, 3))
    >>> found.dense, found.acs, found.macs
    (60.0, 60.0, 0.0)
    """
    check_network("summary", model)
    if group is not None:
        found = gathered("summary", group, partial(_parts, model, x, addition, mac))
        if parts := list(chain.from_iterable(found)):
            return merged(parts)
    given = check_sequences("summary", x, model.batch_first)
    return on_copy("summary", model, lambda copied: summary_of_run(copied, given.clone(), addition, mac), x)


def _parts(model: Network, x: Tensor, addition: float, mac: float | None) -> list[tuple[Summary, int]]:
    """Return the summary of the samples of this process, and their number; nothing if it has none."""
    samples = sizes(x, model.batch_first)[0] if isinstance(x, Tensor) and x.ndim > 1 else 1
    return [(summary(model, x, addition=addition, mac=mac), samples)] if samples else []


def summary_of_run(model: Any, x: Tensor, addition: float = ADDITION, mac: float | None = None) -> Summary:
    """Run the network itself on x, and return its summary."""
    rows, unseen = within((torch.no_grad(),), partial(_measured, model, x))
    energy = addition + MULTIPLICATION if mac is None else mac
    return Summary(tuple(rows), sizes(x, model.batch_first)[1], addition, energy, tuple(unseen))


def _measured(model: Network, x: Tensor) -> tuple[list[Row], list[str]]:
    """Run a network, and return the rows of the layers, and the layers with weights whose operations were not seen."""
    counting = Counting(model.net)
    watch = partial(model.watched, counting, partial(record, model, x, "spikes"))
    # calls in a compiled part of the network would not be seen
    recording = uncompiled(watch)
    spikes = {name: samples_first(each["spikes"], model.batch_first) for name, each in recording.items()}
    return _rows(model.net, counting, spikes, sizes(x, model.batch_first)[0])


def _rows(net: nn.Module, counting: Counting, spikes: Mapping[str, Tensor], N: int) -> tuple[list[Row], list[str]]:
    """Return the rows of the layers from their spikes (N, T, ...), and the layers whose weights were not seen."""
    rows, unseen, known = [], [], set[int]()
    for name, module in net.named_modules():
        own = weights_of(module, recurse=name in spikes, seen=known)
        numbers, counts = sum(weight.numel() for weight in own), counting.found.get(name, [])
        size = bytes_of(module, own, recurse=name in spikes)
        row = Row(
            name or "(network)", getattr(module, "original_name", type(module).__name__), (), numbers, None, (), size
        )
        if isinstance(module, StepLayer) and name in spikes:
            own_spikes = spikes[name]
            # an ANN without delays has one product where a kernel has one for each delay
            share = module.longest + 1 if isinstance(module, DelayedLinear) and module.delay.ndim == 2 else 1
            counts = [recurrent(module, own_spikes), *[each._replace(dense=each.dense / share) for each in counts]]
            shape, rate = tuple(own_spikes.shape[2:]), _rate(module, own_spikes)
            rows.append(row._replace(name=name, shape=shape, rate=rate, counts=_of_one(counts, N)))
        elif counts:
            rows.append(row._replace(shape=counts[-1].shape, counts=_of_one(counts, N)))
        elif numbers:
            rows.append(row)
        multiplies = not isinstance(module, StepLayer) and any(weight.ndim > 1 for weight in own)
        if name not in spikes and not counts and (multiplies or isinstance(module, torch.jit.ScriptModule)):
            unseen.append(f"{row.name} ({row.kind})")
    if pooled := counting.found.get(None):
        rows.append(Row("(average pooling)", "", pooled[-1].shape, 0, None, _of_one(pooled, N)))
    return rows, unseen


def _rate(layer: StepLayer, out: Tensor) -> float | None:
    """Return the share of nonzero outputs; None for graded outputs, such as those of a leaky integrator."""
    fired = out != 0
    levels = out[fired].abs()
    if not hasattr(layer, "surrogate") and levels.numel() and levels.min() != levels.max():
        return None
    return float(fired.double().mean())


def _of_one(counts: Iterable[Count], N: int) -> tuple[Count, ...]:
    """Return the operations of one sample, the mean of N."""
    return tuple([count.share(1, N) for count in counts])
