"""The reference: networks of whole numbers in NumPy's int64, written from the equations and not from the library.

x' = R(X 2**(n - e))                        e: exponent of the sum X that arrives, n: bits of fraction
U  = O(R(k V / 2**m) + x')                  "cuba": I = O(R(ks I / 2**ms) + x') in place of x'
s  = U >= TH,  V = O(reset(U, s))
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tests.quantize import descriptions
from tests.quantize.descriptions import NEURONS, Chip, Conv2d, Flatten, Linear, Loihi, Neuron, SumPool2d, Trace, Whole
from tests.quantize.oracle_chips import loihi, speck, trunc, xylo


class Signal(NamedTuple):
    """Numbers between two layers: whole numbers times ``2**-exponent``."""

    values: Whole  # (N, T, *shape)
    exponent: int


def floor(value: Whole, bits: int) -> Whole:
    return value >> bits


def half_up(value: Whole, bits: int) -> Whole:
    return (2 * value + (1 << bits)) >> (bits + 1)


def half_even(value: Whole, bits: int) -> Whole:
    below = value >> bits
    twice = 2 * (value - (below << bits))
    up = (twice > (1 << bits)) | ((twice == (1 << bits)) & (below % 2 == 1))
    return below + up


ROUND: dict[str, Callable[..., Whole]] = {"floor": floor, "trunc": trunc, "half_up": half_up, "half_even": half_even}


def scaled(value: Whole, exponent: int, fraction_bits: int, rounding: str) -> Whole:
    """Return numbers of ``2**-exponent`` in units of ``2**-fraction_bits``."""
    if exponent > fraction_bits:
        return ROUND[rounding](value, exponent - fraction_bits)
    return value << (fraction_bits - exponent)


def limited(value: Whole, node: Neuron) -> tuple[Whole, int]:
    """Return what a membrane of some bits holds, and how many numbers overflow."""
    outside = int(np.count_nonzero((value < node.low) | (value > node.high)))
    if not outside:
        return value, 0
    if node.overflow == "saturate":
        return np.clip(value, node.low, node.high), outside
    if node.overflow == "wrap":
        return (value - node.low) % 2**node.membrane_bits + node.low, outside
    raise OverflowError(f"{outside} numbers are outside of {node.low} to {node.high}")


def after_reset(u: Whole, spike: Whole, node: Neuron) -> Whole:
    """Return the membrane after the spikes."""
    fired = spike == 1
    if node.reset == "subtraction":
        return u - np.where(fired, node.threshold, 0)
    if node.reset == "none":
        return u
    return np.where(fired, node.v_reset if node.reset == "value" else 0, u)


def fed_back(spike: Whole, node: Neuron) -> Whole:
    """Return the recurrent input that spikes cause."""
    assert node.recurrent is not None
    if descriptions.images(node):
        return convolved(Conv2d(node.recurrent, None, 0, padding=(1, 1)), spike)
    return spike @ node.recurrent.T if descriptions.dense(node) else spike * node.recurrent


def neurons(node: Neuron, signal: Signal) -> Trace:
    """Run a layer of neurons over time."""
    x, (exponent, rounding) = signal.values, (signal.exponent, node.rounding)
    if node.recurrent is not None:
        exponent = max(exponent, node.recurrent_exponent)
    trace = Trace.empty(x.shape)
    spike, v, i = (np.zeros((x.shape[0], *node.shape), np.int64) for _ in range(3))
    decayed = ROUND[rounding]
    for t in range(x.shape[1]):
        arriving = x[:, t] << (exponent - signal.exponent)
        if node.recurrent is not None:
            arriving = arriving + (fed_back(spike, node) << (exponent - node.recurrent_exponent))
        drive, over_i = scaled(arriving, exponent, node.fraction_bits, rounding), 0
        if node.kind == "cuba":
            assert node.decay_synapse is not None
            i, over_i = limited(decayed(i * node.decay_synapse[0], node.decay_synapse[1]) + drive, node)
            drive = i
        kept = v if node.kind == "if" else decayed(v * node.decay[0], node.decay[1])
        u, over_u = limited(kept + drive, node)
        spike = (u > node.threshold if node.strict else u >= node.threshold).astype(np.int64)
        v, over_v = limited(after_reset(u, spike, node), node)
        trace.write(t, spike, u, v, i, over_i + over_u + over_v)
    return trace


def summed(node: descriptions.Node, signal: Signal) -> Signal:
    """Run a layer without a state on all steps."""
    N, T, *shape = signal.values.shape
    x = signal.values.reshape(N * T, *shape)
    exponent = signal.exponent
    if isinstance(node, Linear):
        out, exponent = x @ node.weight.T, exponent + node.exponent
        out = out if node.bias is None else out + node.bias
    elif isinstance(node, Conv2d):
        out, exponent = convolved(node, x), exponent + node.exponent
    elif isinstance(node, SumPool2d):
        out, exponent = pooled(node, x), exponent + node.halvings
    else:
        assert isinstance(node, Flatten)
        out = x.reshape(N * T, -1)
    return Signal(out.reshape(N, T, *out.shape[1:]), exponent)


def places(size: int, kernel: int, stride: int, dilation: int = 1) -> int:
    return (size - dilation * (kernel - 1) - 1) // stride + 1


def convolved(node: Conv2d, x: Whole) -> Whole:
    """Return a cross-correlation, one entry of the kernel after the other."""
    (ph, pw), (sh, sw), (dh, dw), groups = node.padding, node.stride, node.dilation, node.groups
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    outputs, C, kh, kw = node.weight.shape
    H, W = places(x.shape[2], kh, sh, dh), places(x.shape[3], kw, sw, dw)
    out = np.zeros((len(x), outputs, H, W), np.int64)
    for group in range(groups):
        own = slice(group * (outputs // groups), (group + 1) * (outputs // groups))
        for c, a, b in np.ndindex(C, kh, kw):
            rows, columns = a * dh + sh * np.arange(H), b * dw + sw * np.arange(W)
            patch = x[:, group * C + c, rows[:, None], columns]
            out[:, own] += node.weight[own, c, a, b][:, None, None] * patch[:, None]
    return out if node.bias is None else out + node.bias[:, None, None]


def pooled(node: SumPool2d, x: Whole) -> Whole:
    """Return the sums over windows that lie wholly inside."""
    (kh, kw), (sh, sw) = node.kernel, node.stride
    H, W = places(x.shape[2], kh, sh), places(x.shape[3], kw, sw)
    out = np.zeros((*x.shape[:2], H, W), np.int64)
    for a, b in np.ndindex(kh, kw):
        out += x[:, :, a : a + (H - 1) * sh + 1 : sh, b : b + (W - 1) * sw + 1 : sw]
    return out


def run(network: descriptions.Network, x: Whole | None = None) -> list[Trace]:
    """Run a network on its input, or on another one of shape (N, T, *input_shape).

    Raises:
        OverflowError: a neuron whose overflow is an "error" overflows.
    """
    signal, traces = Signal(network.x if x is None else x, network.input_exponent), []
    for node in network.nodes:
        if isinstance(node, NEURONS):
            traces.append(fired(node, signal))
            signal = Signal(traces[-1].spikes, 0)
        else:
            signal = summed(node, signal)
    return traces


def fired(node: Neuron | Chip, signal: Signal) -> Trace:
    """Run a layer of any neurons; chips count in units of their registers, as the weights before them."""
    if isinstance(node, Neuron):
        return neurons(node, signal)
    if isinstance(node, Loihi):
        return loihi(node, signal.values)
    return xylo(node, signal.values) if isinstance(node, descriptions.Xylo) else speck(node, signal.values)
