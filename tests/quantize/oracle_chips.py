"""The neurons of three chips in int64, from the equations of their public models, in units of the registers.

``loihi``: lava's ``PyLifModelBitAcc``. ``xylo``: xylosim's second version. ``speck``: sinabs' IAF after ``discretize``.
"""

from typing import NamedTuple

import numpy as np

from tests.quantize.descriptions import Loihi, Speck, Trace, Whole, Xylo


def trunc(value: Whole, bits: int) -> Whole:
    return np.sign(value) * (np.abs(value) >> bits)


def loihi(node: Loihi, x: Whole) -> Trace:
    """Return the current in ``i``: it wraps around, once; the membrane is clipped and fires above its threshold.

    i = wrapped(trunc(i (4095 - du) / 4096) + 64 x)                          in -2**23 < i <= 2**23
    u = clip(trunc(v (4096 - dv) / 4096) + i + bias),  s = u > 64 vth        |u| < 2**23
    """
    half, trace = 2**23, Trace.empty(x.shape)
    i, v = (np.zeros((x.shape[0], *node.shape), np.int64) for _ in range(2))
    for t in range(x.shape[1]):
        i = trunc(i * (4095 - node.du), 12) + 64 * x[:, t]
        wraps = (i > half) | (i <= -half)
        i = np.where(i > half, i - 2 * half, np.where(i <= -half, i + 2 * half, i))
        u = trunc(v * (4096 - node.dv), 12) + i + node.bias
        clips = np.abs(u) >= half
        u = np.clip(u, 1 - half, half - 1)
        spike = u > 64 * node.vth
        v = np.where(spike, 0, u)
        trace.write(t, spike.astype(np.int64), u, v, i, int(wraps.sum() + clips.sum()))
    return trace


LOW, HIGH = -(2**15), 2**15 - 1


def leak(value: Whole, dash: Whole) -> Whole:
    """Return what a register loses in a step: a share, and at least 1 towards zero."""
    share = value >> dash
    return np.where(share == 0, np.sign(value), share)


class XyloStep(NamedTuple):
    """Registers after a step."""

    spike: Whole
    u: Whole
    v: Whole
    i: Whole
    overflows: int


def xylo_step(node: Xylo, i: Whole, v: Whole) -> XyloStep:
    """Advance neurons whose current has taken all input of this step.

    i = i - leak(i),  u = sat(v + sat(sat(i - leak(v)) + bias))
    s = the times that the threshold fits into u, at most max_spikes,  v = u - s threshold
    """
    i = i - leak(i, node.dash_syn)
    change, first = saturated(i - leak(v, node.dash_mem))
    bias: Whole = np.zeros_like(v) if node.bias is None else node.bias
    change, second = saturated(change + bias)
    u, third = saturated(v + change)
    spike: Whole = np.where(u >= node.threshold, np.minimum(u // node.threshold, node.max_spikes), 0)
    return XyloStep(spike, u, u - spike * node.threshold, i, first + second + third)


def saturated(value: Whole) -> tuple[Whole, int]:
    """Return what a register of 16 bits holds, and how many do not fit."""
    return np.clip(value, LOW, HIGH), int(((value < LOW) | (value > HIGH)).sum())


def xylo(node: Xylo, x: Whole) -> Trace:
    """Return the current in ``i``; what arrives at a step is summed before it saturates."""
    trace = Trace.empty(x.shape)
    i, v, spike = (np.zeros((x.shape[0], *node.shape), np.int64) for _ in range(3))
    for t in range(x.shape[1]):
        fed: Whole = np.zeros_like(i) if node.recurrent is None else spike @ node.recurrent.T
        i, overflows = saturated(i + x[:, t] + fed)
        spike, u, v, i, more = xylo_step(node, i, v)
        trace.write(t, spike, u, v, i, overflows + more)
    return trace


def xylo_by_events(node: Xylo, counts: Whole, weight: Whole) -> Trace:
    """Run Xylo as the chip does: the current saturates at each spike that arrives, inputs first, in their order.

    Args:
        node: the neurons.
        counts: spikes of the inputs at each step, (N, T, inputs).
        weight: (neurons, inputs).
    """
    N, T, _ = counts.shape
    trace = Trace.empty((N, T, *node.shape))
    for n in range(N):
        i, v, spike = (np.zeros(node.shape, np.int64) for _ in range(3))
        for t in range(T):
            fed = [] if node.recurrent is None else [*zip(spike, node.recurrent.T, strict=True)]
            for count, row in [*zip(counts[n, t], weight.T, strict=True), *fed]:
                for _ in range(count):
                    i, clipped = saturated(i + row)
                    trace.overflows += clipped
            spike, u, v, i, more = xylo_step(node, i, v)
            trace.spikes[n, t], trace.u[n, t], trace.v[n, t], trace.i[n, t] = spike, u, v, i
            trace.overflows += more
    return trace


def speck(node: Speck, x: Whole) -> Trace:
    """Return IAF neurons that fire as often as the threshold fits, and have a lower limit after that.

    u = v + x,  s = u / threshold rounded down if u > 0, else 0,  v = max(u - s threshold, low)
    """
    trace, v = Trace.empty(x.shape), np.zeros((x.shape[0], *node.shape), np.int64)
    for t in range(x.shape[1]):
        u = v + x[:, t]
        spike = np.maximum(u, 0) // node.threshold
        left = u - spike * node.threshold
        v = np.maximum(left, node.low)
        trace.write(t, spike, u, v, v, int((left < node.low).sum()))
    return trace
