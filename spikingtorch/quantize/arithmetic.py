"""Arithmetic of whole numbers in NumPy's int64: rounding shifts, overflow, the step of a neuron, and sums."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

if TYPE_CHECKING:
    from spikingtorch.quantize.nodes import Conv2d, Neuron

Whole = NDArray[np.int64]
Rounding = Literal["floor", "trunc", "half_up", "half_even"]
Overflow = Literal["saturate", "wrap", "error"]
ROUNDINGS = ("floor", "trunc", "half_up", "half_even")
OVERFLOWS = ("saturate", "wrap", "error")


class State(NamedTuple):
    """Synaptic current i (zero where a neuron has none) and membrane v of neurons, in units of their grid."""

    i: Whole
    v: Whole


def rounded(a: Whole, bits: Any, how: str) -> Whole:
    """Return a / 2**bits rounded to whole numbers; floor, trunc (towards zero), half_up or half_even."""
    bits = np.asarray(bits, np.int64)
    half = (np.int64(1) << bits) >> 1
    up: Whole = (a + half) >> bits
    if how == "half_up":
        return up
    if how == "half_even":
        # halfway, and the upper one of the two is odd
        tie: NDArray[np.bool_] = (bits > 0) & (a + half == up << bits) & (up & 1 == 1)
        return np.where(tie, up - 1, up)
    down: Whole = a >> bits
    return down if how == "floor" else np.where(a < 0, -(-a >> bits), down)


def aligned(a: Whole, exponent: int, fraction_bits: int, how: str) -> Whole:
    """Return a sum in units of 2**-exponent in units of 2**-fraction_bits, rounded if these are coarser."""
    if exponent > fraction_bits:
        return rounded(a, exponent - fraction_bits, how)
    finer: Whole = a << np.int64(fraction_bits - exponent)
    return finer


def limited(a: Whole, low: int, high: int, how: str, owner: str) -> Whole:
    """Return a number as a register from low to high holds it.

    Raises:
        OverflowError: ``how`` is "error" and a number lies outside.
    """
    if how == "saturate":
        return a.clip(low, high)
    if how == "wrap":
        return ((a - low) & np.int64(high - low)) + low
    if a.size and (a.min() < low or a.max() > high):
        raise OverflowError(
            f"{owner}: a membrane from {a.min()} to {a.max()} does not fit into {low} to {high}, and the overflow is "
            "'error'; take more bits, or overflow='saturate'"
        )
    return a


def at_rest(neuron: "Neuron", samples: int) -> State:
    """Return the state at which a sequence starts."""
    zeros = np.zeros((samples, *neuron.shape), np.int64)
    return State(zeros, zeros)


def advance(neuron: "Neuron", state: State, x: Whole) -> tuple[State, Whole, Whole]:
    """Return the next state, the membrane u before the reset, and the spikes.

    Args:
        neuron: the neurons.
        state: their state.
        x: input of this step, in units of 2**-fraction_bits, shape (N, *shape).
    """
    if neuron.kind == "xylo":
        i, u = _xylo(neuron, state, x)
    else:
        i, u = _leaky(neuron, state, x)
    if neuron.kind in ("xylo", "speck"):
        s = (u // neuron.threshold).clip(0, neuron.max_spikes)
        return State(i, _limit(neuron, u - s * neuron.threshold)), u, s
    s = (u > neuron.threshold if neuron.strict else u >= neuron.threshold).astype(np.int64)
    after = {"zero": 0, "subtraction": u - neuron.threshold, "value": neuron.v_reset, "none": u}[neuron.reset]
    return State(i, _limit(neuron, np.where(s == 1, after, u))), u, s


def _limit(neuron: "Neuron", a: Whole) -> Whole:
    return limited(a, neuron.low, neuron.high, neuron.overflow, neuron.name)


def _leaky(neuron: "Neuron", state: State, x: Whole) -> tuple[Whole, Whole]:
    i = state.i
    if neuron.decay_synapse is not None:
        x = i = _decayed(neuron, i, neuron.decay_synapse) + x
        if neuron.kind == "loihi":
            # the current wraps round once, and alone may be high + 1
            size = neuron.high - neuron.low + 2
            x = i = i - size * ((i > neuron.high + 1).astype(np.int64) - (i < neuron.low))
        else:
            x = i = _limit(neuron, i)
    if neuron.kind == "speck":
        return i, state.v + x + neuron.bias
    v = state.v if neuron.kind == "if" else _decayed(neuron, state.v, neuron.decay)
    return i, _limit(neuron, v + x + neuron.bias)


def _decayed(neuron: "Neuron", a: Whole, decay: tuple[Any, Any]) -> Whole:
    factor, bits = decay
    return rounded(a * factor, bits, neuron.rounding)


def _xylo(neuron: "Neuron", state: State, x: Whole) -> tuple[Whole, Whole]:
    assert neuron.decay_synapse is not None
    i = _limit(neuron, state.i + x)
    i = i - _change(i, neuron.decay_synapse[1])
    change = _limit(neuron, _limit(neuron, i - _change(state.v, neuron.decay[1])) + neuron.bias)
    return i, _limit(neuron, state.v + change)


def _change(a: Whole, dash: Any) -> Whole:
    """Return a / 2**dash rounded down, or one towards zero where that would be nothing."""
    change = a >> np.asarray(dash, np.int64)
    return np.where(change == 0, np.sign(a), change)


def convolution(node: "Conv2d", s: Whole, weight: Whole) -> Whole:
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
    """Return the smallest and the largest value of each sum without its bias.

    The bounds hold for the sum of any part of the inputs as well, because each input may also be zero.

    Args:
        weight: of the sums.
        product: sums of a batch of inputs by weights.
        low: smallest value of each input, of the shape of a sample.
        high: largest value of each input.
    """
    positive, negative = weight.astype(np.int64).clip(0), weight.astype(np.int64).clip(None, 0)
    low, high = np.minimum(low, 0)[None].astype(np.int64), np.maximum(high, 0)[None].astype(np.int64)
    least = product(low, positive) + product(high, negative)
    largest = product(high, positive) + product(low, negative)
    return least[0], largest[0]
