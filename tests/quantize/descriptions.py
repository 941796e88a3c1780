"""Networks of whole numbers, described by arrays alone, and the bounds within which float32 computes them exactly.

A weight w stands for ``w * 2**-exponent``, a membrane V for ``V * 2**-fraction_bits``. The oracle runs a description in
int64; networks in torch are built from the same one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Whole = NDArray[np.int64]
ROUNDINGS = ("floor", "trunc", "half_up", "half_even")
OVERFLOWS = ("saturate", "wrap", "error")
RESETS = ("zero", "subtraction", "value", "none")
# whole numbers up to here are exact in float32
EXACT = 2**24


@dataclass(frozen=True, eq=False)
class Linear:
    weight: Whole  # (O, I)
    bias: Whole | None  # (O,), in units of 2**-(exponent + that of the input)
    exponent: int


@dataclass(frozen=True, eq=False)
class Conv2d:
    weight: Whole  # (O, C / groups, height, width)
    bias: Whole | None
    exponent: int
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


@dataclass(frozen=True, eq=False)
class SumPool2d:
    kernel: tuple[int, int]
    stride: tuple[int, int]
    halvings: int = 0  # the sum is divided by 2**halvings: a mean, if the kernel has as many entries


@dataclass(frozen=True, eq=False)
class Flatten:
    pass


@dataclass(frozen=True, eq=False)
class Neuron:
    kind: str  # "if", "lif" or "cuba"
    shape: tuple[int, ...]
    fraction_bits: int
    membrane_bits: int
    threshold: Whole  # in units of 2**-fraction_bits, as v_reset; () or broadcastable to the shape
    decay: tuple[Any, int] = (1, 0)  # (k, m): k / 2**m of the membrane stays; k is an int or an array
    decay_synapse: tuple[Any, int] | None = None
    rounding: str = "floor"
    overflow: str = "saturate"
    reset: str = "zero"
    v_reset: int = 0
    strict: bool = False  # fires at > in place of >=
    recurrent: Whole | None = None  # (M, M), (C, C, 3, 3), or broadcastable to the shape: each neuron to itself
    recurrent_exponent: int = 0

    @property
    def low(self) -> int:
        return -(1 << (self.membrane_bits - 1))

    @property
    def high(self) -> int:
        return (1 << (self.membrane_bits - 1)) - 1


@dataclass(frozen=True, eq=False)
class Loihi:
    """The neuron of lava's bit-accurate LIF, in units of its registers: u and v have 24 bits, weights 6 bits more."""

    shape: tuple[int, ...]
    fraction_bits: int
    du: Whole  # 0 to 4095; 4095 - du of 4096 of the current stay
    dv: Whole  # 0 to 4095; 4096 - dv of 4096 of the membrane stay
    vth: Whole  # 0 to 2**17 - 1, shifted by 6
    bias: Whole


@dataclass(frozen=True, eq=False)
class Xylo:
    """The neuron of xylosim, version 2 of the chip: 16 bits, decays by shifts, several spikes a step."""

    shape: tuple[int, ...]
    fraction_bits: int
    dash_mem: Whole
    dash_syn: Whole
    threshold: Whole
    bias: Whole | None = None
    max_spikes: int = 31
    recurrent: Whole | None = None  # (M, M)


@dataclass(frozen=True, eq=False)
class Speck:
    """The IAF of sinabs after ``discretize``: no decay, a lower limit, several spikes a step."""

    shape: tuple[int, ...]
    fraction_bits: int
    threshold: int
    low: int


Chip = Loihi | Xylo | Speck
Node = Linear | Conv2d | SumPool2d | Flatten | Neuron | Chip
NEURONS = (Neuron, Loihi, Xylo, Speck)


@dataclass(frozen=True, eq=False)
class Network:
    nodes: tuple[Node, ...]
    input_shape: tuple[int, ...]
    input_exponent: int
    input_range: tuple[int, int]
    x: Whole  # an input, (N, T, *input_shape)
    seed: int = 0

    @property
    def neurons(self) -> tuple[Neuron, ...]:
        return tuple(node for node in self.nodes if isinstance(node, Neuron))

    @property
    def layers(self) -> tuple[Neuron | Chip, ...]:
        """All layers of neurons, those of chips as well."""
        return tuple(node for node in self.nodes if isinstance(node, NEURONS))

    @property
    def exact(self) -> bool:
        """Whether the bounds hold in every layer, so that float32 has to compute the same whole numbers."""
        return all(bound.holds for bound in bounds(self))


class Bound(NamedTuple):
    """What the numbers of a layer of neurons can reach."""

    total: int  # in the finest grid that it sees: input, recurrent input and membrane together
    product: int  # membrane times k

    @property
    def holds(self) -> bool:
        return self.total < EXACT

    @property
    def split(self) -> bool:
        """Whether the product of membrane and k has to be computed in two parts."""
        return self.product > EXACT


def bounds(network: Network) -> Iterator[Bound]:
    """Yield the bounds of each layer of neurons."""
    exponent, largest = network.input_exponent, max(abs(edge) for edge in network.input_range)
    for node in network.nodes:
        if isinstance(node, Neuron):
            yield bound_of(node, exponent, largest)
            exponent, largest = 0, 1
        else:
            exponent, largest = reach(node, exponent, largest)


def reach(node: Node, exponent: int, largest: int) -> tuple[int, int]:
    """Return exponent and largest number behind a layer without a state, from those before it."""
    if isinstance(node, SumPool2d):
        return exponent + node.halvings, largest * node.kernel[0] * node.kernel[1]
    if not isinstance(node, (Linear, Conv2d)):
        return exponent, largest
    sums = np.abs(node.weight).reshape(len(node.weight), -1).sum(1) * largest
    sums = sums if node.bias is None else sums + np.abs(node.bias)
    return exponent + node.exponent, int(sums.max())


def bound_of(node: Neuron, exponent: int, largest: int) -> Bound:
    """Return the bound of a layer whose input is at most ``largest * 2**-exponent``."""
    grid = max(exponent, node.fraction_bits, node.recurrent_exponent if node.recurrent is not None else exponent)
    arriving = largest << (grid - exponent)
    if node.recurrent is not None:
        weight = np.abs(node.recurrent)
        mixes = dense(node) or images(node)
        rows = int((weight.reshape(len(weight), -1).sum(1) if mixes else weight).max())
        arriving += rows << (grid - node.recurrent_exponent)
    membrane = -node.low << (grid - node.fraction_bits)
    decays = [node.decay, *([node.decay_synapse] if node.decay_synapse else [])]
    total = max(arriving, membrane if node.kind == "cuba" else 0) + membrane
    return Bound(total, -node.low * max(int(np.max(k)) for k, _ in decays))


def dense(node: Neuron) -> bool:
    """Whether the recurrent weights connect every neuron to every neuron."""
    return node.recurrent is not None and node.recurrent.ndim == 2 and len(node.shape) == 1


def images(node: Neuron) -> bool:
    """Whether the recurrent weights are a convolution, which keeps the size of an image."""
    return node.recurrent is not None and node.recurrent.ndim == 4


@dataclass(eq=False)
class Trace:
    """Spikes, membrane before and after the reset, and current, each (N, T, *shape); and how often one overflows."""

    spikes: Whole
    u: Whole
    v: Whole
    i: Whole
    overflows: int = 0

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> "Trace":
        spikes, u, v, i = (np.zeros(shape, np.int64) for _ in range(4))
        return cls(spikes, u, v, i)

    def write(self, t: int, spike: Whole, u: Whole, v: Whole, i: Whole, overflows: int = 0) -> None:
        self.spikes[:, t], self.u[:, t], self.v[:, t], self.i[:, t] = spike, u, v, i
        self.overflows += overflows
