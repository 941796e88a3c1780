"""The parts of a network in whole numbers: weights, sums over windows, and fixed-point neurons."""

from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from spikingtorch.quantize.arithmetic import OVERFLOWS, ROUNDINGS, Whole, aligned, convolution, reach_of

Ints: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, ...]
KINDS = ("if", "lif", "cuba", "xylo", "loihi", "speck")
RESETS = ("zero", "subtraction", "value", "none")
# bits that sums of Loihi have less after the point than its membranes
LOIHI_SHIFT = 6
# bits that a decay may shift by
_MOST_SHIFT = 31


@dataclass(frozen=True, eq=False)
class _Node:
    """A part of the chain, named after the layer that it comes from; arrays are copied and cannot be written to."""

    name: str

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, _kept(getattr(self, each.name), f"{self.name}: {each.name}"))

    def __setstate__(self, state: Any) -> None:
        # a copy of an array could be written to
        self.__dict__.update(state)
        self.__post_init__()


@dataclass(frozen=True, eq=False)
class Linear(_Node):
    """Weights between all features: ``weight s + bias``, in units of 2**-exponent.

    Attributes:
        weight: whole numbers, shape (outputs, inputs).
        bias: whole numbers, shape (outputs,), already in units of 2**-exponent.
        exponent: of the sums; it counts the exponent of the inputs in.
    """

    weight: Ints
    bias: Ints
    exponent: int

    def output_shape_of(self, shape: Shape) -> Shape:
        """Return the shape of the sums of one sample."""
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[:1]:
            raise ValueError(f"{self.name}: weight {self.weight.shape} and bias {self.bias.shape} do not fit")
        _expect(self.name, shape, (self.weight.shape[1],))
        return self.weight.shape[:1]

    def sums(self, s: Whole) -> Whole:
        """Return the sums of inputs (N, inputs)."""
        product: Whole = s @ self.weight.T.astype(np.int64) + self.bias
        return product

    def reach(self, low: Ints, high: Ints) -> tuple[Ints, Ints]:
        """Return the bounds of each sum for inputs between bounds."""
        least, largest = reach_of(self.weight, lambda s, weight: s @ weight.T, low, high)
        return least + self.bias, largest + self.bias


@dataclass(frozen=True, eq=False)
class Conv2d(_Node):
    """A convolution with zeros around the image, in units of 2**-exponent; see Linear.

    Attributes:
        weight: shape (channels out, channels in / groups, height, width).
        bias: shape (channels out,).
        stride, padding, dilation: rows and columns.
        input_shape, output_shape: (channels, height, width) of one sample.
    """

    weight: Ints
    bias: Ints
    exponent: int
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    input_shape: Shape
    output_shape: Shape

    def output_shape_of(self, shape: Shape) -> Shape:
        """Return the shape of the sums of one sample."""
        _expect(self.name, shape, self.input_shape)
        outs, ins, *kernel = self.weight.shape
        if self.bias.shape != (outs,) or ins * self.groups != shape[0] or outs % self.groups:
            raise ValueError(f"{self.name}: weight {self.weight.shape}, bias and groups do not fit {shape}")
        around = zip(shape[1:], self.padding, self.dilation, kernel, self.stride, strict=True)
        sizes = [(n + 2 * pad - dilation * (k - 1) - 1) // stride + 1 for n, pad, dilation, k, stride in around]
        _expect(f"{self.name}: output_shape", self.output_shape, (outs, *sizes))
        return self.output_shape

    def sums(self, s: Whole) -> Whole:
        """Return the sums of images (N, C, H, W)."""
        return convolution(self, s, self.weight.astype(np.int64)) + self.bias[:, None, None]

    def reach(self, low: Ints, high: Ints) -> tuple[Ints, Ints]:
        """Return the bounds of each sum for inputs between bounds."""
        least, largest = reach_of(self.weight, lambda s, weight: convolution(self, s, weight), low, high)
        return least + self.bias[:, None, None], largest + self.bias[:, None, None]


@dataclass(frozen=True, eq=False)
class SumPool2d(_Node):
    """Sums over windows of an image; a mean over 2**k entries is a sum whose exponent is larger by k.

    Attributes:
        kernel, stride: rows and columns.
        exponent: of the sums.
        input_shape, output_shape: (channels, height, width) of one sample.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    exponent: int
    input_shape: Shape
    output_shape: Shape

    def output_shape_of(self, shape: Shape) -> Shape:
        """Return the shape of the sums of one sample."""
        _expect(self.name, shape, self.input_shape)
        sizes = [(n - k) // stride + 1 for n, k, stride in zip(shape[1:], self.kernel, self.stride, strict=True)]
        _expect(f"{self.name}: output_shape", self.output_shape, (shape[0], *sizes))
        return self.output_shape

    def sums(self, s: Whole) -> Whole:
        """Return the sums of images (N, C, H, W)."""
        seen = sliding_window_view(s, self.kernel, axis=(2, 3))
        sums: Whole = seen[:, :, :: self.stride[0], :: self.stride[1]].sum((4, 5))
        return sums

    def reach(self, low: Ints, high: Ints) -> tuple[Ints, Ints]:
        """Return the bounds of each sum for inputs between bounds."""
        return self.sums(low[None].astype(np.int64))[0], self.sums(high[None].astype(np.int64))[0]


@dataclass(frozen=True, eq=False)
class Flatten(_Node):
    """All axes of a sample as one, the last axis fastest."""

    input_shape: Shape

    def output_shape_of(self, shape: Shape) -> Shape:
        """Return the shape of one sample."""
        _expect(self.name, shape, self.input_shape)
        return (int(np.prod(shape)),)


@dataclass(frozen=True, eq=False)
class Diagonal(_Node):
    """Weights that lead from each neuron to itself: ``weight s``, in units of 2**-exponent; recurrent ones alone.

    Attributes:
        weight: whole numbers, of the shape of the neurons.
        exponent: of the sums.
    """

    weight: Ints
    exponent: int

    def output_shape_of(self, shape: Shape) -> Shape:
        """Return the shape of the sums of one sample."""
        _expect(self.name, self.weight.shape, shape)
        return shape

    def sums(self, s: Whole) -> Whole:
        """Return the sums of spikes (N, *shape)."""
        product: Whole = s * self.weight
        return product

    def reach(self, low: Ints, high: Ints) -> tuple[Ints, Ints]:
        """Return the bounds of each sum for inputs between bounds."""
        ends = self.weight * low.astype(np.int64), self.weight * high.astype(np.int64), np.zeros_like(low)
        return np.minimum.reduce(ends), np.maximum.reduce(ends)


Synapses: TypeAlias = Linear | Conv2d | Diagonal


@dataclass(frozen=True, eq=False)
class Neuron(_Node):
    """Fixed-point neurons; all their numbers are whole, in units of 2**-fraction_bits.

        E = max(exponent, recurrent.exponent),  X = the sum and the recurrent sum, in units of 2**-E
        x = R(X 2**(fraction_bits - E))                R = the rounding, where E is larger
        I = O(R(k_s I / 2**m_s) + x)                   "cuba" alone; for others I = x
        U = O(R(k V / 2**m) + I),  s = U >= threshold (or >, if strict),  V = O(reset(U, s))

    "if" has no decay. "xylo", "loihi" and "speck" are the models of these chips, as ``XyloLIF``, ``LoihiLIF`` and
    ``SpeckIAF`` have them.
    Numbers may differ from neuron to neuron: threshold, v_reset, bias and the numbers of the decays may be arrays of
    the neurons' shape.

    Attributes:
        kind: one of "if", "lif", "cuba", "xylo", "loihi", "speck".
        shape: of the neurons of one sample.
        exponent: of the incoming sum.
        fraction_bits: the membrane's grid is 2**-fraction_bits.
        decay, decay_synapse: (k, m), the factor k / 2**m; of "xylo" m is the dash, and k is not used.
        low, high: what the membrane's register holds.
        threshold, strict: whether the neuron fires at ``>`` instead of ``>=``.
        reset, v_reset: what a spike does to the membrane; v_reset of "value".
        rounding, overflow: R and O above.
        recurrent: weights for the neurons' own spikes of the step before; None without any.
        bound: proven largest absolute value of the sum that arrives, without the recurrent one.
        bias: of the membrane; of "xylo" and "loihi".
        max_spikes: of a step; more than one for "xylo" and "speck" alone. Speck has no limit, so that it is a proven
            bound.
    """

    kind: str
    shape: Shape
    exponent: int
    fraction_bits: int
    decay: tuple[Any, Any]
    decay_synapse: tuple[Any, Any] | None
    low: int
    high: int
    threshold: Any
    strict: bool
    reset: str
    v_reset: Any
    rounding: str
    overflow: str
    recurrent: Synapses | None
    bound: int
    bias: Any = 0
    max_spikes: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        known = {"kind": KINDS, "reset": RESETS, "rounding": ROUNDINGS, "overflow": OVERFLOWS}
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{self.name}: {name} is {getattr(self, name)!r}, expected one of {', '.join(values)}")
        size = self.high - self.low + 1
        if size <= 1 or (self.overflow == "wrap" and size & (size - 1)):
            raise ValueError(f"{self.name}: a register that wraps round has 2**b values, not {self.low} to {self.high}")
        if (self.kind in ("cuba", "xylo", "loihi")) != (self.decay_synapse is not None):
            raise ValueError(f"{self.name}: decay_synapse is {self.decay_synapse} for neurons of kind {self.kind!r}")
        several = self.kind in ("xylo", "speck")
        if self.kind == "speck" and self.recurrent is not None:
            raise ValueError(f"{self.name}: neurons of Speck fire without a limit, and cannot feed themselves")
        if self.max_spikes != 1 and not several:
            raise ValueError(
                f"{self.name}: neurons of kind {self.kind!r} fire once a step, not {self.max_spikes} times"
            )
        for name in ("threshold", "v_reset", "bias", "decay", "decay_synapse"):
            _check_neurons(self, name, getattr(self, name))
        if several and np.min(self.threshold) <= 0:
            raise ValueError(f"{self.name}: neurons that fire several times a step need thresholds above zero")
        if self.recurrent is not None:
            _expect(f"{self.name}: recurrent", self.recurrent.output_shape_of(self.shape), self.shape)

    def output_shape_of(self, shape: Shape) -> Shape:
        """Return the shape of the spikes of one sample."""
        _expect(self.name, shape, self.shape)
        return shape

    @property
    def most_spikes(self) -> int:
        """Largest number of spikes of a neuron in a step."""
        if self.kind != "xylo":
            return self.max_spikes
        return min(self.max_spikes, max(self.high // int(np.min(self.threshold)), 0))

    @property
    def input_bits(self) -> int:
        """Bits after the point of the current x, to which sums are rounded; Loihi has 6 less than for its membrane."""
        return self.fraction_bits - (LOIHI_SHIFT if self.kind == "loihi" else 0)

    @property
    def sum_exponent(self) -> int:
        """Exponent of the sum of incoming and recurrent currents."""
        return self.exponent if self.recurrent is None else max(self.exponent, self.recurrent.exponent)

    def current(self, x: Whole, s: Whole) -> Whole:
        """Return x of the equation above, from the incoming sums and the spikes of the step before."""
        finest = self.sum_exponent
        total = x << np.int64(finest - self.exponent)
        if self.recurrent is not None:
            total = total + (self.recurrent.sums(s) << np.int64(finest - self.recurrent.exponent))
        return aligned(total, finest, self.input_bits, self.rounding) << np.int64(self.fraction_bits - self.input_bits)


Node: TypeAlias = Linear | Conv2d | SumPool2d | Flatten | Neuron
Sums = (Linear, Conv2d, SumPool2d)


def same(a: Any, b: Any) -> bool:
    """Return whether two nodes, or numbers of nodes, are the same."""
    if isinstance(a, _Node):
        return type(a) is type(b) and all(same(getattr(a, each.name), getattr(b, each.name)) for each in fields(a))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(same(*pair) for pair in zip(a, b, strict=True))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.shape != b.shape:
        return False
    return bool(np.all(a == b))


def _kept(value: Any, owner: str) -> Any:
    """Return a value as a node keeps it; raise unless its numbers are whole."""
    if isinstance(value, np.ndarray):
        return whole(value, owner)
    if isinstance(value, tuple):
        return tuple(_kept(each, owner) for each in value)
    if not isinstance(value, int | np.integer | str | _Node | None):
        raise TypeError(f"{owner} is {value!r}, expected a whole number")
    return value


def _check_neurons(node: Neuron, name: str, value: Any) -> None:
    """Raise unless a parameter is a whole number or an array with one for each neuron; a decay is two of them."""
    pair = name.startswith("decay")
    for each in value if pair and value is not None else (value,):
        array = isinstance(each, np.ndarray)
        if isinstance(each, str) or (each is None and not pair) or (array and each.shape not in (node.shape, (1,))):
            came = f"an array {each.shape}" if array else repr(each)
            raise ValueError(f"{node.name}: {name} is {came}, expected one number, or one a neuron {node.shape}")
    if pair and value is not None and not 0 <= np.min(value[1]) <= np.max(value[1]) <= _MOST_SHIFT:
        raise ValueError(f"{node.name}: {name} is {value}, expected (k, m) with m from 0 to {_MOST_SHIFT}")


def whole(array: Ints, owner: str) -> Ints:
    """Return a copy of whole numbers that cannot be written to."""
    if array.dtype.kind not in "iu":
        raise TypeError(f"{owner} has dtype {array.dtype}, expected whole numbers such as int8 or int32")
    copy = array.copy()
    copy.setflags(write=False)
    return copy


def _expect(owner: str, shape: Shape, expected: Shape) -> None:
    if tuple(shape) != tuple(expected):
        raise ValueError(f"{owner}: the shape of a sample is {tuple(shape)}, expected {tuple(expected)}")
