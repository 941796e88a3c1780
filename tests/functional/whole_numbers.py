"""Neurons with whole numbers in 64-bit integers of numpy: what the steps of torch have to compute, bit for bit."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikingtorch import functional as F

Whole = NDArray[np.int64]
ROUNDINGS: dict[str, Any] = {
    "floor": F.round_floor,
    "trunc": F.round_trunc,
    "half_up": F.round_half_up,
    "half_even": F.round_half_even,
}
OVERFLOWS: dict[str, Any] = {"saturate": F.saturate, "wrap": F.wrap, "error": F.overflow_to_nan}
# the value of a membrane that has left its range, which no membrane of 24 bits has
GONE = np.int64(2**40)


def divided(y: Any, m: int, rounding: str) -> Any:
    """Return y / 2^m, rounded."""
    below, rest = y // 2**m, y % 2**m
    if rounding == "floor":
        return below
    if rounding == "trunc":
        return np.where(y < 0, -((-y) // 2**m), below)
    up = 2 * rest >= 2**m if rounding == "half_up" else (2 * rest > 2**m) | ((2 * rest == 2**m) & (below % 2 == 1))
    return below + (up & (m > 0))


def within(u: Any, bits: int, overflow: str) -> Any:
    """Return numbers of so many bits."""
    top = 2 ** (bits - 1)
    if overflow == "wrap":
        return (u + top) % (2 * top) - top
    if overflow == "saturate":
        return np.minimum(np.maximum(u, -top), top - 1)
    return np.where((u < -top) | (u >= top), GONE, u)


class Network(NamedTuple):
    """A neuron per column: its numbers, in units of its grid, and its rules.

    Attributes:
        kind: "if", "lif" or "cuba_lif".
        k: numerators of the membrane's decay k / 2^m.
        k_syn: those of the current's.
        m: of both.
        bits: of the membrane.
        threshold: whole numbers.
        rounding, overflow, reset: the rules by name.
        value: that the reset rule "value" sets the membrane to.
        shift: the inputs have so many bits more after the point than the membrane.
    """

    kind: str
    k: Whole
    k_syn: Whole
    m: int
    bits: int
    threshold: Whole
    rounding: str
    overflow: str
    reset: str
    value: int = 0
    shift: int = 0

    def run(self, x: Whole) -> tuple[Whole, Whole]:
        """Return spikes and membranes for inputs (T, N); a membrane that has left its range is GONE."""
        v, i, spikes, membranes = np.zeros_like(x[0]), np.zeros_like(x[0]), [], []
        for x_t in x:
            current = divided(x_t, self.shift, self.rounding)
            gone = (v == GONE) | (i == GONE)
            if self.kind == "cuba_lif":
                i = current = self._within(divided(i * self.k_syn, self.m, self.rounding) + current)
                gone |= i == GONE
            kept = v if self.kind == "if" else divided(v * self.k, self.m, self.rounding)
            u = self._within(kept + current)
            fires = (u >= self.threshold) & ~gone & (u != GONE)
            after: Any = {"zero": 0, "subtraction": u - self.threshold, "value": self.value, "none": u}[self.reset]
            v = np.where(gone | (u == GONE), GONE, self._within(np.where(fires, after, u)))
            i = np.where(i == GONE, GONE, i)
            spikes.append(fires.astype(np.int64))
            membranes.append(v)
        return np.array(spikes), np.array(membranes)

    def _within(self, u: Whole) -> Whole:
        found: Whole = within(u, self.bits, self.overflow)
        return found


def drawn(seed: int, kind: str, rounding: str, overflow: str, reset: str, neurons: int = 40) -> tuple[Network, Whole]:
    """Draw a network and inputs for it: wide and narrow membranes, decays of few bits and of twelve."""
    rng = np.random.default_rng(seed)
    bits = int(rng.choice([2, 5, 8, 13, 14, 16, 24]))
    top, m = 2 ** (bits - 1), int(rng.choice([0, 1, 4, 8, 12]))
    k, k_syn = rng.integers(0, 2**m + 1, (2, neurons))
    threshold = rng.integers(max(1, top // 4), top, neurons)
    shift = int(rng.integers(0, 4)) if bits < 20 else 0
    x = rng.integers(-top // 2, top, (25, neurons)) * 2**shift // 2 ** rng.integers(0, 3, (25, neurons))
    x = np.where(rng.random(x.shape) < 0.3, rng.integers(0, 2**shift, x.shape), x)
    value = int(rng.integers(-top, top))
    return Network(kind, k, k_syn, m, bits, threshold, rounding, overflow, reset, value, shift), x


RESETS: dict[str, Callable[[Network, float], F.Reset]] = {
    "zero": lambda *_: F.to_zero,
    "subtraction": lambda *_: F.by_subtraction,
    "none": lambda *_: F.none,
    "value": lambda net, lsb: F.to_value(net.value * lsb),
}
