"""Neurons of chips in 64-bit integers: shifts, comparisons and loops, as the programs of their makers have them."""

from typing import Any

import numpy as np

from spikingtorch.verification.oracles.fixed_point import BITS, Whole, limited, whole
from spikingtorch.verification.oracles.reset import Array, Result

_LOIHI = 12


def _floats(value: Whole, bits: int) -> Array:
    return np.ldexp(value.astype(np.float64), -bits)


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
    return np.array(out), {"v": _floats(v, BITS), "i": _floats(i, BITS)}


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
    return np.array(out), {"v": _floats(v, BITS)}
