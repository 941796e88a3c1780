"""Documented limits of neuromorphic platforms, and the parts of a graph that exceed them.

Only published limits are listed, with their source. A graph within them may still not fit: mapping tools know more.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import nir
import numpy as np

from spikingtorch.interop.nir.plan import NEURONS, Plan

_WEIGHTS = (nir.Affine, nir.Linear, nir.Conv1d, nir.Conv2d)


class Sizes(NamedTuple):
    """The sizes of a graph that count on a platform."""

    neurons: Mapping[str, int]  # number of neurons, by node
    weights: Mapping[str, int]  # number of weights, by node
    kinds: frozenset[str]  # of the nodes
    inputs: int  # entries of the Input
    outputs: int  # entries of the Outputs
    cyclic: bool  # whether it has a cycle

    @property
    def total(self) -> int:
        """Number of all neurons."""
        return sum(self.neurons.values())

    @property
    def synapses(self) -> int:
        """Number of all weights."""
        return sum(self.weights.values())


class Platform(NamedTuple):
    """A platform."""

    name: str
    notes: str  # effect of the platform on every graph
    exceeded: Callable[[Sizes], list[str]]  # returns the exceeded limits of a graph, as sentences
    source: str  # where that is written


def sizes_of(plan: Plan) -> Sizes:
    """Return the sizes of a graph."""
    nodes = plan.nodes
    neurons = {name: _entries(node.output_type["output"]) for name, node in nodes.items() if isinstance(node, NEURONS)}
    weights = {name: int(np.size(node.weight)) for name, node in nodes.items() if isinstance(node, _WEIGHTS)}
    kinds = frozenset(type(node).__name__ for node in nodes.values())
    outputs = sum(_entries(nodes[name].output_type["output"]) for name in plan.outputs)
    cyclic = any(edge.delayed for edges in plan.incoming.values() for edge in edges)
    return Sizes(neurons, weights, kinds, _entries(nodes[plan.input].input_type["input"]), outputs, cyclic)


def exceeded(plan: Plan) -> dict[str, list[str]]:
    """Return for each platform the documented limits that a graph exceeds."""
    sizes = sizes_of(plan)
    return {platform.name: platform.exceeded(sizes) for platform in PLATFORMS}


def _entries(shape: Any) -> int:
    return 0 if shape is None else int(np.prod(np.asarray(shape, dtype=np.int64)))


def _more(what: str, has: int, most: int) -> list[str]:
    return [f"{has:,} {what}, at most {most:,}"] if has > most else []


def _unknown(sizes: Sizes, known: set[str]) -> list[str]:
    wrong = sorted(sizes.kinds - known - {"Input", "Output", "Pass", "Flatten"})
    return [f"no {', '.join(wrong)}"] if wrong else []


def _speck(sizes: Sizes) -> list[str]:
    found = _unknown(sizes, {"Affine", "Linear", "Conv2d", "SumPool2d", "AvgPool2d", "IF"})
    found += _more("layers of neurons", len(sizes.neurons), 9)
    found += _more("neurons in the largest layer", max(sizes.neurons.values(), default=0), 64 * 1024)
    found += _more("weights in the largest layer", max(sizes.weights.values(), default=0), 64 * 1024)
    return [*found, "no cycles"] if sizes.cyclic else found


def _xylo(sizes: Sizes) -> list[str]:
    found = _unknown(sizes, {"Affine", "Linear", "LIF", "CubaLIF"})
    last = sizes.outputs
    return [*found, *_more("output neurons", last, 8), *_more("hidden neurons", max(0, sizes.total - last), 1000)]


def _brainscales(sizes: Sizes) -> list[str]:
    found = _unknown(sizes, {"Affine", "Linear", "LI", "LIF", "CubaLI", "CubaLIF"})
    return [*found, *_more("neurons", sizes.total, 512), *_more("synapses", sizes.synapses, 512 * 256)]


PLATFORMS = (
    Platform(
        "Loihi 2",
        "weights become whole numbers of 8 bits",
        lambda sizes: _more("neurons", sizes.total, 128 * 8192),
        "128 cores of up to 8192 neurons: G. Orchard et al., IEEE SiPS 2021, doi:10.1109/SiPS52927.2021.00053",
    ),
    Platform(
        "Speck 2f",
        "weights become whole numbers of 8 bits, membranes of 16",
        _speck,
        "nine layers and their memories: sinabs 3.1.3, backend.dynapcnn.chips; O. Richter et al., arXiv:2304.06793",
    ),
    Platform(
        "Xylo Audio 2",
        "weights become whole numbers of 8 bits, decays powers of two",
        _xylo,
        "1000 hidden and 8 output neurons: rockpool, devices.xylo.syns61201",
    ),
    Platform(
        "BrainScaleS-2",
        "analog neurons; weights become whole numbers of 6 bits with a sign for each row",
        _brainscales,
        "512 neurons of 256 synapses: C. Pehle et al., Front. Neurosci. 16 (2022), doi:10.3389/fnins.2022.795876",
    ),
    Platform(
        "SpiNNaker2",
        "weights become whole numbers",
        lambda sizes: _more("weights of a byte in the memory of its cores", sizes.synapses, 152 * 128 * 1024),
        "152 cores of 128 kB: SpiNNaker2 data sheet, version 0.03 (2021)",
    ),
)
