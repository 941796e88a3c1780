"""Neurons with whole numbers: shifts and comparisons of 64-bit integers, which know no floating point after the input.

Those of chips are as the programs of their makers have them. The others have 8 bits after the point and 16 bits in
all, round down and saturate, as ``FixedPoint()`` does.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikingtorch.verification.oracles.spikes import Array, Reset, Result, to_zero

Whole = NDArray[np.int64]
BITS, LEAST, MOST = 8, -(2**15), 2**15 - 1
_LOIHI = 12


def whole(value: Any, bits: int = BITS) -> Whole:
    """Return numbers in units of 2^-bits, rounded down."""
    return np.floor(np.ldexp(np.asarray(value, dtype=np.float64), bits)).astype(np.int64)


def limited(u: Whole) -> Whole:
    """Return the nearest numbers of 16 bits."""
    found: Whole = np.minimum(np.maximum(u, LEAST), MOST)
    return found


def _floats(value: Whole, bits: int = BITS) -> Array:
    return np.ldexp(value.astype(np.float64), -bits)


def _kept(u: Whole, spike: Whole, threshold: Any, reset: Reset) -> Whole:
    return limited(whole(reset(_floats(u), spike.astype(np.float64), threshold)))


def fixed_point_if(x: Array, threshold: Any = 1.0, reset: Reset = to_zero) -> Result:
    """Add up inputs of 16 bits."""
    return fixed_point_lif(x, 1.0, threshold, reset)


def fixed_point_lif(x: Array, decay: Any, threshold: Any = 1.0, reset: Reset = to_zero) -> Result:
    """Multiply the membrane by k = 2^8 decay, shift it by 8 bits to the right, and add the input."""
    v, out = np.zeros_like(x[0], dtype=np.int64), []
    for x_t in x:
        u = limited(((v * whole(decay)) >> BITS) + whole(x_t))
        spike = (u >= whole(threshold)).astype(np.int64)
        v = _kept(u, spike, threshold, reset)
        out.append(spike.astype(np.float64))
    return np.array(out), {"v": _floats(v)}


def fixed_point_cuba_lif(x: Array, decay_syn: Any, decay: Any, threshold: Any = 1.0, reset: Reset = to_zero) -> Result:
    """Filter the input with k = 2^8 decay_syn and a shift, and give it to a leaky neuron."""
    i, current = np.zeros_like(x[0], dtype=np.int64), []
    for x_t in x:
        i = limited(((i * whole(decay_syn)) >> BITS) + whole(x_t))
        current.append(_floats(i))
    out, neuron = fixed_point_lif(np.array(current), decay, threshold, reset)
    return out, neuron | {"i": _floats(i)}


def _counted(u: Whole, threshold: Whole, most: int) -> tuple[Whole, Whole]:
    """Subtract thresholds one by one; return how many they are, and what is left."""
    count, rest = np.zeros_like(u), u.copy()
    while ((rest >= threshold) & (count < most)).any():
        fires = (rest >= threshold) & (count < most)
        count, rest = count + fires, np.where(fires, rest - threshold, rest)
    return count, rest


def xylo_lif(x: Array, leak_syn: Any, leak: Any, threshold: Any = 1.0, bias: Any = 0.0) -> Result:
    """Leak by a shift of the product with 2^8 leak, at least by 1 towards zero, and saturate at 16 bits."""

    def less(y: Whole, share: Any) -> Whole:
        lost = (y * whole(share)) >> BITS
        return y - np.where((y > 0) & (lost == 0), 1, lost)

    v = i = np.zeros_like(x[0], dtype=np.int64)
    out = []
    for x_t in x:
        i = less(limited(i + whole(x_t)), leak_syn)
        change = limited(limited(i - (v - less(v, leak))) + whole(bias))
        n, v = _counted(limited(v + change), whole(threshold), 31)
        out.append(n.astype(np.float64))
    return np.array(out), {"v": _floats(v), "i": _floats(i)}


def loihi_lif(x: Array, decay_syn: Any, decay: Any, threshold: Any = 1.0, bias: Any = 0.0) -> Result:
    """Shift the products with 2^12 decays by 12 bits towards zero; inputs have 6 bits less than the membrane."""

    def kept(y: Whole, share: Any) -> Whole:
        found: Whole = np.sign(y) * ((np.abs(y) * whole(share, _LOIHI)) >> _LOIHI)
        return found

    v = i = np.zeros_like(x[0], dtype=np.int64)
    out = []
    for x_t in x:
        i = kept(i, decay_syn) + (np.trunc(x_t * 2.0 ** (_LOIHI - 6)).astype(np.int64) << 6)
        i = np.where(i > 2**23, i - 2**24, np.where(i <= -(2**23), i + 2**24, i))
        u = np.clip(kept(v, decay) + i + whole(bias, _LOIHI), -(2**23) + 1, 2**23 - 1)
        fires = u > whole(threshold, _LOIHI)
        v = np.where(fires, 0, u)
        out.append(fires.astype(np.float64))
    return np.array(out), {"v": _floats(v, _LOIHI), "i": _floats(i, _LOIHI)}


def speck_iaf(x: Array, threshold: Any = 1.0, v_min: Any = -1.0) -> Result:
    """Add up the inputs, take away a threshold for each spike, and limit the membrane from below."""
    v, out = np.zeros_like(x[0], dtype=np.int64), []
    for x_t in x:
        n, rest = _counted(v + whole(x_t), whole(threshold), 2**40)
        v = np.maximum(rest, whole(v_min))
        out.append(n.astype(np.float64))
    return np.array(out), {"v": _floats(v)}
