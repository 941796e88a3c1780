"""certify: a float network beside its integers, every spike and membrane, and the proof of its sums."""

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikingtorch import axes
from spikingtorch.functional.core.sharing import copied
from spikingtorch.quantize.errors import IntegerError
from spikingtorch.quantize.grid import RoundedInput, rounding_of_inputs
from spikingtorch.quantize.integer import IntegerModel
from spikingtorch.quantize.lower import integers_for
from spikingtorch.quantize.network import Record
from spikingtorch.quantize.neurons import Neuron
from spikingtorch.quantize.nodes import same
from spikingtorch.quantize.proof import LIMIT, bounds_of, check_settings, settings_in_words
from spikingtorch.units import in_columns
from spikingtorch.watching.network import check_network
from spikingtorch.watching.recording import record

HEAD = ("layer", "kind", "neurons", "spikes", "saturated", "compared", "different", "bound", "of 2^24")


class Difference(NamedTuple):
    """The first difference of a layer: what differs, where, and both numbers.

    Attributes:
        what: "spikes", "u", "v" or "i"; "out" of the output.
        sample, step: their indices.
        neuron: index of the neuron.
        network, integers: the two numbers, in the network's units.
    """

    what: str
    sample: int
    step: int
    neuron: tuple[int, ...]
    network: float
    integers: float


class Row(NamedTuple):
    """One layer of neurons, or the output.

    Attributes:
        name: of the layer.
        kind: of its neurons.
        neurons: their number.
        spikes: number of spikes.
        saturated: number of membranes at an end of their register.
        compared: number of spikes, membranes and currents that were compared.
        different: how many of them differ.
        first: the first difference in time.
        bound: proven largest sum, in the finest unit.
    """

    name: str
    kind: str
    neurons: int
    spikes: int
    saturated: int
    compared: int
    different: int
    first: Difference | None
    bound: int


class Certificate(NamedTuple):
    """The result of ``certify``.

    Attributes:
        rows: the layers of neurons, and the output if it is none of them.
        bounds: the proven largest sum of each layer, in its finest unit; each is below 2**24.
        samples, steps: N and T.
        settings: those under which the numbers were computed, and for which the certificate holds.
    """

    rows: tuple[Row, ...]
    bounds: dict[str, int]
    samples: int
    steps: int
    settings: str

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not any(row.different for row in self.rows)

    @property
    def first(self) -> Row | None:
        """The first row with a difference, if there is one."""
        return next((row for row in self.rows if row.different), None)

    def cells(self, row: Row) -> tuple[str, ...]:
        """Return the texts of a row of the table."""
        numbers = [f"{number:,}" for number in row[2:7]]
        return (*row[:2], *numbers, f"{row.bound:,}", f"{row.bound / LIMIT:.2%}")

    def __str__(self) -> str:
        lines = in_columns([HEAD, *map(self.cells, self.rows)], left=2)
        ran = f"{self.samples} samples of {self.steps} steps; {self.settings}"
        return "\n".join([*lines, f"{self.verdict} ({ran})"])

    @property
    def verdict(self) -> str:
        """Whether the numbers are equal, or the first difference, in words."""
        row = self.first
        if row is None:
            silent = [each.name for each in self.rows if not each.spikes and each.kind != "sums"]
            return "equal, bit for bit" + (f", but {', '.join(silent)} never fired" if silent else "")
        first: Any = row.first
        return (
            f"different first at {row.name}: {first.what} of neuron {first.neuron}, sample {first.sample}, step "
            f"{first.step} is {first.network:g} in the network, and {first.integers:g} in integers"
        )


def certify(model: Any, integer: IntegerModel, x: Tensor) -> Certificate:
    """Run a float network and its integers, compare every spike, membrane and current, and prove the sums.

    Nothing of the network is changed: a copy runs, in evaluation.

    Args:
        model: the SpikingNet that ``to_integer`` has taken.
        integer: its integers.
        x: an input (N, T, ...), with which every layer should fire.

    Returns:
        A table to print, with the first difference if there is one.

    Raises:
        TypeError: model is not a SpikingNet, or integer is not an IntegerModel.
        IntegerError: the sums cannot be proven, the settings are those of ``to_integer``'s refusals, or the network has
            other layers or numbers than its integers although nothing differs on x.
        ValueError: the input is off the grid or out of the range of the integers.
    """
    check_network("certify", model)
    if not isinstance(integer, IntegerModel):
        raise TypeError(
            f"certify: integer is a {type(integer).__name__}, expected an IntegerModel: to_integer(model, x)"
        )
    check_settings(model, x)
    bounds = bounds_of(integer)
    net = copied(model).eval()
    net.batch_first = True
    x = axes.samples_first(x, model.batch_first)
    neurons = [node for node in integer.nodes if isinstance(node, Neuron)]
    what = ("spikes", "u", "v", *(["i"] if any(node.decay_synapse is not None for node in neurons) else []))
    with torch.no_grad():
        seen = record(net, x, what) if neurons else None
        out = net(x) if seen is None else seen.out
        found = integer.run(_rounded(model, x), record=True)
    rows = []
    for node in neurons:
        if seen is None or node.name not in seen:
            raise IntegerError(node.name, "chain", "the network has no such layer; pass the one of to_integer")
        rows.append(_row(node, seen[node.name], found.records[node.name], bounds[node.name]))
    output, last = _output(integer, out, found.out, bounds), integer.nodes[-1]
    if not isinstance(last, Neuron):
        rows.append(output)
    elif output.different and not rows[-1].different:
        raise IntegerError(
            last.name, "chain", "its spikes are not the output of the network; pass the one of to_integer"
        )
    if not any(row.different for row in rows):
        _check_numbers(model, integer, x)
    N, T = x.shape[:2]
    return Certificate(tuple(rows), bounds, N, T, settings_in_words(x))


def _check_numbers(model: Any, integer: IntegerModel, x: Tensor) -> None:
    """Raise unless the network has the numbers of its integers, also where x does not show them."""
    found = integers_for(model, x, integer)
    for here, there in zip_longest(integer.steps(), found.steps()):
        if not same(here, there):
            raise IntegerError(
                next(step[0].name for step in (here, there) if step is not None),
                "chain",
                "its numbers in the network are not those of the integers, although nothing differs on this input. "
                "They have changed since to_integer(model, x); call it again",
            )


def _rounded(model: Any, x: Tensor) -> Tensor:
    """Return an input as the network rounds it before its first layer."""
    rounding = rounding_of_inputs(model) or next(
        (layer for layer in model.net.modules() if isinstance(layer, RoundedInput)), None
    )
    return x if rounding is None else rounding(x)


def _row(node: Neuron, here: Mapping[str, Tensor], there: Record, bound: int) -> Row:
    scales = {"spikes": 1.0, "u": 2.0**-node.fraction_bits, "v": 2.0**-node.fraction_bits}
    if node.decay_synapse is not None:
        scales["i"] = 2.0**-node.fraction_bits
    compared = different = 0
    first: Difference | None = None
    for what, scale in scales.items():
        a, b = _array(here[what]), getattr(there, what) * scale
        wrong = _wrong(a, b)
        compared, different = compared + b.size, different + int(wrong.sum())
        found = _first(what, a, b, wrong)
        if found is not None and (first is None or found.step < first.step):
            first = found
    saturated = int(((there.u == node.low) | (there.u == node.high)).sum())
    neurons = int(np.prod(node.shape))
    return Row(node.name, node.kind, neurons, int(there.spikes.sum()), saturated, compared, different, first, bound)


def _output(integer: IntegerModel, out: Any, there: Any, bounds: dict[str, int]) -> Row:
    a, b = _array(out), there * 2.0**-integer.output_exponent
    wrong = _wrong(a, b)
    size, name = int(np.prod(integer.output_shape)), integer.nodes[-1].name
    bound = bounds.get(name, max(bounds.values()))
    return Row(name, "sums", size, 0, 0, b.size, int(wrong.sum()), _first("out", a, b, wrong), bound)


def _wrong(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    if a.shape != b.shape:
        raise ValueError(f"certify: the network gives {a.shape}, and the integers {b.shape}; pass the network's own")
    return np.asarray(a != b)


def _first(what: str, a: NDArray[Any], b: NDArray[Any], wrong: NDArray[np.bool_]) -> Difference | None:
    if not wrong.any():
        return None
    step = int(np.argmax(wrong.any((0, *range(2, wrong.ndim)))))
    sample, *neuron = (int(each[0]) for each in np.nonzero(wrong[:, step]))
    place = (sample, step, *neuron)
    return Difference(what, sample, step, tuple(neuron), float(a[place]), float(b[place]))


def _array(tensor: Tensor) -> NDArray[np.float64]:
    array: NDArray[np.float64] = tensor.detach().double().cpu().numpy()
    return array
