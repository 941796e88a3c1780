"""IntegerModel: a network in whole numbers that can be written as C, as a graph of NIR, as a table and as a file."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spikingtorch.quantize.c import needs_of, to_c
from spikingtorch.quantize.c.header import CSource, Needs
from spikingtorch.quantize.network import WholeNetwork
from spikingtorch.quantize.neurons import Neuron, Node
from spikingtorch.quantize.nir_graph import to_nir
from spikingtorch.quantize.nodes import Conv2d, Diagonal, Flatten, Linear, Sum, SumPool2d
from spikingtorch.quantize.proof import bounds_of
from spikingtorch.units import in_columns

HEAD = ("node", "kind", "output", "grid", "bits", "bound", "additions", "updates", "instructions")
_NODES = (Conv2d, Diagonal, Flatten, Linear, Neuron, Sum, SumPool2d)
_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in _NODES}
# tells files of this library from others, and later forms from this one; only networks with branches have the second
_FORMATS = ("spikingtorch.quantize 1", "spikingtorch.quantize 2")


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


def _bits(node: Node) -> int:
    """Return the bits of membranes, or those that weights need with a sign."""
    if isinstance(node, Neuron):
        return (node.high - node.low).bit_length()
    if not isinstance(node, Linear | Conv2d) or not node.weight.size:
        return 0
    whole = node.weight.astype(np.int64)
    return int(np.abs(np.where(whole < 0, whole + 1, whole)).max()).bit_length() + 1


@dataclass(frozen=True, eq=False)
class IntegerModel(WholeNetwork):
    """A network in whole numbers, as a chip or a microcontroller computes it.

    Attributes:
        input_exponent: inputs are whole numbers times 2**-input_exponent.
        input_shape: of one sample and step.
        input_range: smallest and largest whole number of an input.
        nodes: in the order in which they are computed; the last one is the output.
        sources: for each node the indices of the nodes whose outputs it takes, -1 for the input: several for a ``Sum``,
            one for others. By default each node takes the output of the one before it.

    Raises:
        ValueError: shapes or exponents of the nodes do not fit, or sums exceed the bound that a neuron node states.
    """

    def to_c(self, path: str | Path, main: bool = False, prefix: str = "snn") -> CSource:
        """Write the network as one C99 file and a header; see ``spikingtorch.quantize.c.to_c``."""
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
        return to_nir(self, x, dt, approximate)

    def to_onnx(self, path: str | Path, x: Any = None, *, state: bool = True, certify: bool = True) -> None:
        """Write the network as a file of ONNX that computes with integers alone, for any number of samples and steps.

        The inputs of the file are ``x``, (N, T, ...), and ``state.<name>``, its outputs ``out`` and ``next.<name>``,
        all of int64: ``whole_input(x)`` gives the first, and zeros are the state at rest. The file takes whole numbers
        within ``input_range``, and does not check that they are. It needs the extra ``onnx``.

        Args:
            path: of the file.
            x: an example for the check, as of ``run``; by default random numbers and both ends of ``input_range``.
            state: whether the file takes and gives the state; without it, each call starts at rest.
            certify: whether to run the file, in one call and in two, and to compare each number with that of ``run``.

        Raises:
            ONNXError: an overflow is "error" and cannot be excluded, or a bit of the file differs from ``run``.
        """
        import spikingtorch.interop.onnx  # noqa: F401 - it says what to install
        from spikingtorch.quantize.onnx_graph import to_onnx

        to_onnx(self, path, x, state=state, certify=certify)

    def report(self) -> Report:
        """Return a table of bits, bounds, bytes, and the worst cost of a step."""
        needs, bounds = needs_of(self), bounds_of(self)
        rows = []
        for node, shape, exponent in zip(self.nodes, self.shapes[1:], self.exponents, strict=True):
            grid = node.fraction_bits if isinstance(node, Neuron) else exponent
            cost = needs.costs.get(node.name, (0, 0, 0))
            kind = node.kind if isinstance(node, Neuron) else type(node).__name__
            rows.append(ReportRow(node.name, kind, shape, grid, _bits(node), bounds.get(node.name), *cost))
        return Report(tuple(rows), needs)

    def save(self, path: str | Path) -> None:
        """Write the network to a file, an npz of NumPy, which ``IntegerModel.load`` reads."""
        arrays: dict[str, Any] = {}
        text = {each.name: _packed(getattr(self, each.name), arrays) for each in fields(self) if each.init}
        if not text["sources"]:
            del text["sources"]
        form = _FORMATS["sources" in text]
        with Path(path).open("wb") as file:
            np.savez(file, network=np.array(json.dumps({"format": form, **text})), **arrays)

    @staticmethod
    def load(path: str | Path) -> "IntegerModel":
        """Return the network of a file that ``save`` has written; nothing in the file is run.

        Raises:
            ValueError: the file is none of ``save``, or its nodes do not fit.
        """
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as found:
                text = json.loads(str(found["network"]))
                if text.pop("format") in _FORMATS:
                    return IntegerModel(**{name: _unpacked(value, found) for name, value in text.items()})
        except OSError:
            raise
        except Exception as error:  # any error of zipfile, NumPy, json or a node for what stands in the file
            raise ValueError(f"{path} is damaged, or no network of IntegerModel.save ({error})") from error
        raise ValueError(f"{path} is a network of a newer spikingtorch")


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
