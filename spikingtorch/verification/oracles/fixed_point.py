"""Neurons with whole numbers: shifts and comparisons of 64-bit integers, which know no floating point after the input.

All have 8 bits after the point and 16 bits in all, round down and saturate, as ``FixedPoint()`` does.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikingtorch.verification.oracles.reset import Array, Reset, Result, to_zero

Whole = NDArray[np.int64]
BITS, LEAST, MOST = 8, -(2**15), 2**15 - 1


def whole(value: Any, bits: int = BITS) -> Whole:
    """Return numbers in units of 2^-bits, rounded down."""
    return np.floor(np.ldexp(np.asarray(value, dtype=np.float64), bits)).astype(np.int64)


def limited(u: Whole) -> Whole:
    """Return the nearest numbers of 16 bits."""
    found: Whole = np.minimum(np.maximum(u, LEAST), MOST)
    return found


def _shown(value: Whole) -> Array:
    return np.ldexp(value.astype(np.float64), -BITS)


def _kept(u: Whole, spike: Whole, threshold: Any, reset: Reset) -> Whole:
    return limited(whole(reset(_shown(u), spike.astype(np.float64), threshold)))


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
    return np.array(out), {"v": _shown(v)}


def fixed_point_cuba_lif(x: Array, decay_syn: Any, decay: Any, threshold: Any = 1.0, reset: Reset = to_zero) -> Result:
    """Filter the input with k = 2^8 decay_syn and a shift, and give it to a leaky neuron."""
    i, current = np.zeros_like(x[0], dtype=np.int64), []
    for x_t in x:
        i = limited(((i * whole(decay_syn)) >> BITS) + whole(x_t))
        current.append(_shown(i))
    out, neuron = fixed_point_lif(np.array(current), decay, threshold, reset)
    return out, neuron | {"i": _shown(i)}
