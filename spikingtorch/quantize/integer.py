"""A network in whole numbers: a chain of weights, sums and fixed-point neurons, and its reference in NumPy's int64."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spikingtorch.quantize.arithmetic import Whole, advance, at_rest
from spikingtorch.quantize.nodes import Conv2d, Diagonal, Flatten, Linear, Neuron, Node, Shape, SumPool2d

if TYPE_CHECKING:
    from spikingtorch.quantize.c.header import CSource
    from spikingtorch.quantize.report import Report

_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in (Conv2d, Diagonal, Flatten, Linear, Neuron, SumPool2d)}
# tells files of this library from others, and later forms from this one
_FORMAT = "spikingtorch.quantize 1"


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
class IntegerModel:
    """A network in whole numbers, as a chip or a microcontroller computes it.

    Attributes:
        input_exponent: inputs are whole numbers times 2**-input_exponent.
        input_shape: of one sample and step.
        input_range: smallest and largest whole number of an input.
        nodes: the chain.

    Raises:
        ValueError: shapes or exponents of the chain do not fit, or sums exceed the bound that a neuron node states.
    """

    input_exponent: int
    input_shape: Shape
    input_range: tuple[int, int]
    nodes: tuple[Node, ...]
    reaches: tuple[tuple[int, int], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.nodes or len({node.name for node in self.nodes}) < len(self.nodes):
            raise ValueError("a network has nodes, each with a name of its own")
        object.__setattr__(self, "reaches", tuple(_checked(self)))

    @property
    def output_exponent(self) -> int:
        """Exponent of the output: zero for spikes."""
        exponent = self.input_exponent
        for node in self.nodes:
            exponent = 0 if isinstance(node, Neuron) else getattr(node, "exponent", exponent)
        return exponent

    @property
    def output_shape(self) -> Shape:
        """Shape of the output of one sample and step."""
        shape = self.input_shape
        for node in self.nodes:
            shape = node.output_shape_of(shape)
        return shape

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

    def to_c(self, path: str | Path, main: bool = False, prefix: str = "snn") -> "CSource":
        """Write the network as one C99 file and a header; see ``spikingtorch.quantize.c.to_c``."""
        from spikingtorch.quantize.c import to_c

        return to_c(self, path, main, prefix)

    def to_nir(self, x: Any, dt: float = 1e-4, approximate: bool = False) -> Any:
        """Return a graph of NIR with integer weights, whose inputs are whole numbers; ``nir.write`` makes a file of it.

        Thresholds are half a unit lower, because NIR fires above them. Registers, roundings and grids are in the
        metadata. An independent simulation of the graph has to give the outputs of ``run`` on x.

        Args:
            x: an input, as of ``run``.
            dt: length of a step, in seconds.
            approximate: write the nearest form of what NIR cannot say, such as a rounded decay; the metadata have a
                note of it under "lost".

        Raises:
            IntegerError: NIR cannot say something, or the simulation gives other outputs.
        """
        from spikingtorch.quantize.nir_graph import to_nir

        return to_nir(self, x, dt, approximate)

    def report(self) -> "Report":
        """Return a table of bits, bounds, bytes, and the worst cost of a step."""
        from spikingtorch.quantize.report import report_of

        return report_of(self)

    def save(self, path: str | Path) -> None:
        """Write the network to a file, an npz of NumPy, which ``IntegerModel.load`` reads."""
        arrays: dict[str, Any] = {}
        text = {each.name: _packed(getattr(self, each.name), arrays) for each in fields(self) if each.init}
        with Path(path).open("wb") as file:
            np.savez(file, network=np.array(json.dumps({"format": _FORMAT, **text})), **arrays)

    @staticmethod
    def load(path: str | Path) -> "IntegerModel":
        """Return the network of a file that ``save`` has written; nothing in the file is run.

        Raises:
            ValueError: the file is none of ``save``, or its nodes do not fit.
        """
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as found:
                text = json.loads(str(found["network"]))
                if text.pop("format") == _FORMAT:
                    return IntegerModel(**{name: _unpacked(value, found) for name, value in text.items()})
        except OSError:
            raise
        except Exception as error:  # any error of zipfile, NumPy, json or a node for what stands in the file
            raise ValueError(f"{path} is damaged, or no network of IntegerModel.save ({error})") from error
        raise ValueError(f"{path} is a network of a newer spikingtorch")

    def run(self, x: Any, record: bool = False) -> Run:
        """Return what the network gives for sequences from rest, computed in NumPy's int64.

        Args:
            x: as of ``whole_input``.
            record: whether spikes, u, v and i of each neuron node are returned as well.
        """
        s, records = self.whole_input(x), {}
        for node in self.nodes:
            if isinstance(node, Neuron):
                found = _neurons(node, s)
                s = found.spikes
                if record:
                    records[node.name] = found
            elif isinstance(node, Flatten):
                s = s.reshape(*s.shape[:2], -1)
            else:
                sums = node.sums(s.reshape(-1, *s.shape[2:]))
                s = sums.reshape(*s.shape[:2], *sums.shape[1:])
        return Run(s, records)


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


def _checked(model: IntegerModel) -> list[tuple[int, int]]:
    """Return the smallest and the largest number that each node can give out; raise if the chain does not fit."""
    shape, exponent = model.input_shape, model.input_exponent
    least, largest = model.input_range
    if least > largest:
        raise ValueError(f"input_range is ({least}, {largest}), expected the smallest number first")
    low, high = (np.full(shape, bound, np.int64) for bound in (min(least, 0), max(largest, 0)))
    reaches = []
    for node in model.nodes:
        after = node.output_shape_of(shape)
        if isinstance(node, Neuron):
            most = int(max(-low.min(), high.max()))
            if node.exponent != exponent or most > node.bound:
                raise ValueError(
                    f"{node.name}: sums of up to {most} in units of 2**-{exponent} arrive, and the node is for "
                    f"{node.bound} in units of 2**-{node.exponent}"
                )
            low, high, exponent = np.zeros(after, np.int64), np.full(after, node.most_spikes, np.int64), 0
        elif isinstance(node, Flatten):
            low, high = low.reshape(after), high.reshape(after)
        else:
            (low, high), exponent = node.reach(low, high), node.exponent
        shape = after
        reaches.append((int(low.min()), int(high.max())))
    return reaches


def _packed(value: Any, arrays: dict[str, Any]) -> Any:
    if isinstance(value, np.ndarray):
        name = f"a{len(arrays)}"
        arrays[name] = value
        return {"array": name}
    if isinstance(value, tuple):
        return [_packed(each, arrays) for each in value]
    if type(value).__name__ in _KINDS:
        own = {each.name: _packed(getattr(value, each.name), arrays) for each in fields(value)}
        return {"node": type(value).__name__, **own}
    return value.item() if isinstance(value, np.generic) else value


def _unpacked(value: Any, arrays: Any) -> Any:
    if isinstance(value, list):
        return tuple(_unpacked(each, arrays) for each in value)
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    own = {name: _unpacked(each, arrays) for name, each in value.items() if name != "node"}
    return _KINDS[value["node"]](**own)
