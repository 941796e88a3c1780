"""The parts of a network in whole numbers that have no state: weights, sums over windows, and sums of branches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[Any]
Whole: TypeAlias = NDArray[np.int64]
Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class BaseNode:
    """A part of a network, named after the layer that it comes from; arrays are copied and cannot be written to."""

    name: str

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, _kept(getattr(self, each.name), f"{self.name}: {each.name}"))

    def __setstate__(self, state: Any) -> None:
        # a copy of an array could be written to
        self.__dict__.update(state)
        self.__post_init__()


@dataclass(frozen=True, eq=False)
class Linear(BaseNode):
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
        expect(self.name, shape, (self.weight.shape[1],))
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
class Conv2d(BaseNode):
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
        expect(self.name, shape, self.input_shape)
        outs, ins, *kernel = self.weight.shape
        if self.bias.shape != (outs,) or ins * self.groups != shape[0] or outs % self.groups:
            raise ValueError(f"{self.name}: weight {self.weight.shape}, bias and groups do not fit {shape}")
        around = zip(shape[1:], self.padding, self.dilation, kernel, self.stride, strict=True)
        sizes = [(n + 2 * pad - dilation * (k - 1) - 1) // stride + 1 for n, pad, dilation, k, stride in around]
        expect(f"{self.name}: output_shape", self.output_shape, (outs, *sizes))
        return self.output_shape

    def sums(self, s: Whole) -> Whole:
        """Return the sums of images (N, C, H, W)."""
        return convolution(self, s, self.weight.astype(np.int64)) + self.bias[:, None, None]

    def reach(self, low: Ints, high: Ints) -> tuple[Ints, Ints]:
        """Return the bounds of each sum for inputs between bounds."""
        least, largest = reach_of(self.weight, lambda s, weight: convolution(self, s, weight), low, high)
        return least + self.bias[:, None, None], largest + self.bias[:, None, None]


@dataclass(frozen=True, eq=False)
class SumPool2d(BaseNode):
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
        expect(self.name, shape, self.input_shape)
        sizes = [(n - k) // stride + 1 for n, k, stride in zip(shape[1:], self.kernel, self.stride, strict=True)]
        expect(f"{self.name}: output_shape", self.output_shape, (shape[0], *sizes))
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
class Flatten(BaseNode):
    """All axes of a sample as one, the last axis fastest."""

    input_shape: Shape

    def output_shape_of(self, shape: Shape) -> Shape:
        """Return the shape of one sample."""
        expect(self.name, shape, self.input_shape)
        return (int(np.prod(shape)),)


@dataclass(frozen=True, eq=False)
class Diagonal(BaseNode):
    """Weights that lead from each neuron to itself: ``weight s``, in units of 2**-exponent; recurrent ones alone.

    Attributes:
        weight: whole numbers, of the shape of the neurons.
        exponent: of the sums.
    """

    weight: Ints
    exponent: int

    def output_shape_of(self, shape: Shape) -> Shape:
        """Return the shape of the sums of one sample."""
        expect(self.name, self.weight.shape, shape)
        return shape

    def sums(self, s: Whole) -> Whole:
        """Return the sums of spikes (N, *shape)."""
        product: Whole = s * self.weight
        return product

    def reach(self, low: Ints, high: Ints) -> tuple[Ints, Ints]:
        """Return the bounds of each sum for inputs between bounds."""
        ends = self.weight * low.astype(np.int64), self.weight * high.astype(np.int64), np.zeros_like(low)
        return np.minimum.reduce(ends), np.maximum.reduce(ends)


@dataclass(frozen=True, eq=False)
class Sum(BaseNode):
    """The sum of branches, in the finest of their units, 2**-exponent: ``s_1 2**shift_1 + s_2 2**shift_2 + ...``.

    Attributes:
        shape: of one sample.
        exponent: of the sums.
        shifts: of each branch, exponent minus the exponent of the branch.
    """

    shape: Shape
    exponent: int
    shifts: tuple[int, ...]

    def output_shape_of(self, shape: Shape) -> Shape:
        """Return the shape of the sums of one sample."""
        expect(self.name, shape, self.shape)
        if min(self.shifts) < 0:
            raise ValueError(f"{self.name}: shifts are {self.shifts}, expected numbers from 0 on")
        return self.shape

    def total(self, branches: Sequence[Whole]) -> Whole:
        """Return the sum of the values of the branches, each of the same shape."""
        shifted = [each << np.int64(shift) for each, shift in zip(branches, self.shifts, strict=True)]
        return np.asarray(sum(shifted), np.int64)


Synapses: TypeAlias = Linear | Conv2d | Diagonal


def convolution(node: Conv2d, s: Whole, weight: Whole) -> Whole:
    """Return the convolution of images (N, C, H, W) without its bias."""
    rows, columns = node.padding
    padded = np.pad(s, ((0, 0), (0, 0), (rows, rows), (columns, columns)))
    (high, wide), (down, across) = weight.shape[2:], node.dilation
    seen = sliding_window_view(padded, (down * (high - 1) + 1, across * (wide - 1) + 1), axis=(2, 3))
    seen = seen[:, :, :: node.stride[0], :: node.stride[1], ::down, ::across]
    size = seen.shape[1] // node.groups
    parts = []
    for group, own in enumerate(np.split(weight, node.groups)):
        window = seen[:, group * size : (group + 1) * size]
        # (N, height, width, entries of a window) times (entries, channels)
        entries = window.transpose(0, 2, 3, 1, 4, 5).reshape(len(s), *window.shape[2:4], own[0].size)
        parts.append((entries @ own.reshape(len(own), -1).T).transpose(0, 3, 1, 2))
    return np.concatenate(parts, 1)


def reach_of(
    weight: NDArray[Any], product: Callable[[Whole, Whole], Whole], low: NDArray[Any], high: NDArray[Any]
) -> tuple[Whole, Whole]:
    """Return the smallest and the largest value of each sum without its bias, for inputs of a sample from low to high.

    The bounds hold for the sum of any part of the inputs as well, because each input may also be zero. ``product``
    returns the sums of a batch of inputs by weights.
    """
    positive, negative = weight.astype(np.int64).clip(0), weight.astype(np.int64).clip(None, 0)
    low, high = np.minimum(low, 0)[None].astype(np.int64), np.maximum(high, 0)[None].astype(np.int64)
    least = product(low, positive) + product(high, negative)
    largest = product(high, positive) + product(low, negative)
    return least[0], largest[0]


def same(a: Any, b: Any) -> bool:
    """Return whether two nodes, or numbers of nodes, are the same."""
    if isinstance(a, BaseNode):
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
    if not isinstance(value, int | np.integer | str | BaseNode | None):
        raise TypeError(f"{owner} is {value!r}, expected a whole number")
    return value


def whole(array: Ints, owner: str) -> Ints:
    """Return a copy of whole numbers that cannot be written to."""
    if array.dtype.kind not in "iu":
        raise TypeError(f"{owner} has dtype {array.dtype}, expected whole numbers such as int8 or int32")
    copy = array.copy()
    copy.setflags(write=False)
    return copy


def expect(owner: str, shape: Shape, expected: Shape) -> None:
    """Raise ValueError unless a sample has the expected shape."""
    if tuple(shape) != tuple(expected):
        raise ValueError(f"{owner}: the shape of a sample is {tuple(shape)}, expected {tuple(expected)}")
