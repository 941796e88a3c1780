"""A network in whole numbers: weights, sums, fixed-point neurons and their sources; its reference in NumPy's int64."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spikingtorch.quantize.neurons import Neuron, Node, advance, at_rest
from spikingtorch.quantize.nodes import Flatten, Shape, Sum, Whole


class Record(NamedTuple):
    """What neurons did: spikes, membranes u before and v after the reset, currents i; each (N, T, *shape)."""

    spikes: Whole
    u: Whole
    v: Whole
    i: Whole


class Run(NamedTuple):
    """Outputs of a run (N, T, *shape), and a Record for each neuron node, by its name, if these were asked for."""

    out: Whole
    records: Mapping[str, Record]


@dataclass(frozen=True, eq=False)
class WholeNetwork:
    """A network in whole numbers and what it computes; ``IntegerModel``, which can write itself, states the attributes.

    Raises:
        ValueError: shapes or exponents of the nodes do not fit, or sums exceed the bound that a neuron node states.
    """

    input_exponent: int
    input_shape: Shape
    input_range: tuple[int, int]
    nodes: tuple[Node, ...]
    reaches: tuple[tuple[int, int], ...] = field(init=False, repr=False)
    sources: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        if not self.nodes or len({node.name for node in self.nodes}) < len(self.nodes):
            raise ValueError("a network has nodes, each with a name of its own")
        object.__setattr__(self, "reaches", tuple(_checked(self)))

    @property
    def output_exponent(self) -> int:
        """Exponent of the output: zero for spikes."""
        return self.exponents[-1]

    @property
    def exponents(self) -> list[int]:
        """The exponent of the output of each node."""
        found: list[int] = []
        for node, (source, *_) in self.steps():
            arriving = found[source] if source >= 0 else self.input_exponent
            found.append(0 if isinstance(node, Neuron) else getattr(node, "exponent", arriving))
        return found

    def steps(self) -> Iterator[tuple[Node, tuple[int, ...]]]:
        """Yield the nodes with their sources."""
        chain = tuple((place - 1,) for place in range(len(self.nodes)))
        yield from zip(self.nodes, self.sources or chain, strict=True)

    @property
    def output_shape(self) -> Shape:
        """Shape of the output of one sample and step."""
        return self.shapes[-1]

    @property
    def shapes(self) -> list[Shape]:
        """The shape of one sample and step of the input, and of the output of each node."""
        shapes = [self.input_shape]
        for node, (source, *_) in self.steps():
            shapes.append(node.output_shape_of(shapes[source + 1]))
        return shapes

    def whole_input(self, x: Any) -> Whole:
        """Return an input in units of 2**-input_exponent.

        Args:
            x: (N, T, *input_shape), NumPy or torch. Integers are taken as whole numbers in these units, and floating
                numbers as the numbers that the network in float32 takes.

        Raises:
            ValueError: it has another shape, is off the grid, or exceeds ``input_range``.
        """
        if isinstance(x, Tensor):
            x = x.detach().cpu()
            x = x.double() if x.is_floating_point() else x  # NumPy has no bfloat16
        a = np.asarray(x)
        if a.shape[2:] != self.input_shape or a.ndim < 2:
            raise ValueError(f"the input has shape {a.shape}, expected (N, T, {', '.join(map(str, self.input_shape))})")
        if a.dtype.kind not in "iub":
            a = on_grid(a.astype(np.float64), self.input_exponent, "the input")
        a = a.astype(np.int64)
        low, high = self.input_range
        if a.size and (a.min() < low or a.max() > high):
            raise ValueError(
                f"the input reaches from {a.min()} to {a.max()}, and the bounds were proven for {low} to {high} (whole "
                f"numbers times 2**-{self.input_exponent}); pass to_integer an input that reaches as far"
            )
        return a

    def run(self, x: Any, record: bool = False) -> Run:
        """Return what the network gives for sequences from rest, computed in NumPy's int64.

        Args:
            x: as of ``whole_input``.
            record: whether spikes, u, v and i of each neuron node are returned as well.
        """
        values, records = [self.whole_input(x)], {}
        for node, sources in self.steps():
            s = values[sources[0] + 1]
            if isinstance(node, Neuron):
                found = _neurons(node, s)
                s = found.spikes
                if record:
                    records[node.name] = found
            elif isinstance(node, Flatten):
                s = s.reshape(*s.shape[:2], -1)
            elif isinstance(node, Sum):
                s = node.total([values[source + 1] for source in sources])
            else:
                sums = node.sums(s.reshape(-1, *s.shape[2:]))
                s = sums.reshape(*s.shape[:2], *sums.shape[1:])
            values.append(s)
        return Run(values[-1], records)


def on_grid(a: NDArray[np.float64], exponent: int, owner: str) -> Whole:
    """Return a * 2**exponent as whole numbers; raise if it is not."""
    scaled = np.ldexp(a, exponent)
    off = ~(scaled == np.rint(scaled))
    if off.any():
        raise ValueError(f"{owner} has {a[off].flat[0]!r}, which is no whole number times 2**-{exponent}")
    if a.size and np.abs(scaled).max() >= 2.0**62:
        raise ValueError(f"{owner} reaches {np.abs(a).max()}, which is too large for whole numbers")
    return scaled.astype(np.int64)


def _neurons(node: Neuron, x: Whole) -> Record:
    state, s, steps = at_rest(node, len(x)), np.zeros((len(x), *node.shape), np.int64), []
    for t in range(x.shape[1]):
        state, u, s = advance(node, state, node.current(x[:, t], s))
        steps.append((s, u, state.v, state.i))
    if not steps:
        return Record(x, x, x, x)
    return Record(*[np.stack(each, 1) for each in zip(*steps, strict=True)])


def _check_sources(model: WholeNetwork) -> None:
    """Raise unless each node takes outputs of nodes before it, several only for a sum, and only the last feeds none."""
    if model.sources and len(model.sources) != len(model.nodes):
        raise ValueError(f"sources are for {len(model.sources)} nodes, and there are {len(model.nodes)}")
    taken = set[int]()
    for place, (node, sources) in enumerate(model.steps()):
        most = len(node.shifts) if isinstance(node, Sum) else 1
        if len(sources) != most or not all(-1 <= source < place for source in sources):
            raise ValueError(f"{node.name}: sources are {sources}, expected {most} from -1 to {place - 1}")
        taken |= {*sources}
    if idle := {*range(len(model.nodes) - 1)} - taken:
        raise ValueError(f"{model.nodes[min(idle)].name}: no node takes its output, and it is not the last one")


def _checked(model: WholeNetwork) -> list[tuple[int, int]]:
    """Return the smallest and the largest number that each node can give out; raise if the nodes do not fit."""
    _check_sources(model)
    least, largest = model.input_range
    if least > largest:
        raise ValueError(f"input_range is ({least}, {largest}), expected the smallest number first")
    ends = [tuple(np.full(model.input_shape, bound, np.int64) for bound in (min(least, 0), max(largest, 0)))]
    exponents = [model.input_exponent, *model.exponents]
    for node, sources in model.steps():
        (low, high), exponent = ends[sources[0] + 1], exponents[sources[0] + 1]
        after = node.output_shape_of(low.shape)
        if isinstance(node, Neuron):
            _check_arriving(node, exponent, int(max(-low.min(), high.max())))
            low, high = np.zeros(after, np.int64), np.full(after, node.most_spikes, np.int64)
        elif isinstance(node, Flatten):
            low, high = low.reshape(after), high.reshape(after)
        elif isinstance(node, Sum):
            for source in sources:
                node.output_shape_of(ends[source + 1][0].shape)
            shifts = tuple(node.exponent - exponents[source + 1] for source in sources)
            if shifts != node.shifts:
                raise ValueError(
                    f"{node.name}: shifts are {node.shifts}, and the units of its branches ask for {shifts}"
                )
            low, high = (node.total([ends[source + 1][end] for source in sources]) for end in (0, 1))
        else:
            low, high = node.reach(low, high)
        ends.append((low, high))
    return [(int(low.min()), int(high.max())) for low, high in ends[1:]]


def _check_arriving(node: Neuron, exponent: int, most: int) -> None:
    """Raise unless sums that arrive are in the unit, and within the bound, for which a neuron node is written."""
    if node.exponent != exponent or most > node.bound:
        raise ValueError(
            f"{node.name}: sums of up to {most} in units of 2**-{exponent} arrive, and the node is for "
            f"{node.bound} in units of 2**-{node.exponent}"
        )
