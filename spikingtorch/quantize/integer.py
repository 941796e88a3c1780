"""IntegerModel: a network in whole numbers that can be written as C, as a graph of NIR, as a table and as a file."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from spikingtorch.quantize.c import to_c
from spikingtorch.quantize.c.header import CSource
from spikingtorch.quantize.network import WholeNetwork
from spikingtorch.quantize.neurons import Neuron
from spikingtorch.quantize.nir_graph import to_nir
from spikingtorch.quantize.nodes import Conv2d, Diagonal, Flatten, Linear, Sum, SumPool2d
from spikingtorch.quantize.report import Report, report_of

_NODES = (Conv2d, Diagonal, Flatten, Linear, Neuron, Sum, SumPool2d)
_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in _NODES}
# tells files of this library from others, and later forms from this one; only networks with branches have the second
_FORMATS = ("spikingtorch.quantize 1", "spikingtorch.quantize 2")


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

    def report(self) -> Report:
        """Return a table of bits, bounds, bytes, and the worst cost of a step."""
        return report_of(self)

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
