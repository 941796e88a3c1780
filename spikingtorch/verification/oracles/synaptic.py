"""Synapses, and leaky neurons behind them."""

from typing import Any

import numpy as np

from spikingtorch.verification.oracles.leaky import leaky
from spikingtorch.verification.oracles.spikes import Array, Reset, Result, to_zero, trace


def exponential_synapse(x: Array, decay: Any) -> Result:
    """I = sum over k of decay^(t - k) x[k]."""
    i = trace(x, decay)
    return i, {"i": i[-1]}


def alpha_synapse(x: Array, decay_rise: Any, gain_rise: Any, decay: Any) -> Result:
    """I = sum over k of kernel[t - k] x[k]; the kernel is the convolution of two exponentials."""
    kernel = [gain_rise * sum(decay ** (n - j) * decay_rise**j for j in range(n + 1)) for n in range(len(x))]
    i = np.array([sum(kernel[t - k] * x[k] for k in range(t + 1)) for t in range(len(x))])
    return i, {"i": i[-1], "r": gain_rise * trace(x, decay_rise)[-1]}


def cuba_lif(
    x: Array, decay_syn: Any, decay: Any, gain: Any = 1.0, threshold: Any = 1.0, reset: Reset = to_zero
) -> Result:
    """Drive a leaky neuron by the current of an exponential synapse."""
    i, synapse = exponential_synapse(x, decay_syn)
    out, neuron = leaky(i, decay, gain, threshold, reset)
    return out, neuron | synapse


def alpha_lif(
    x: Array,
    decay_rise: Any,
    gain_rise: Any,
    decay_syn: Any,
    decay: Any,
    gain: Any = 1.0,
    threshold: Any = 1.0,
    reset: Reset = to_zero,
) -> Result:
    """Drive a leaky neuron by the current of an alpha synapse."""
    i, synapse = alpha_synapse(x, decay_rise, gain_rise, decay_syn)
    out, neuron = leaky(i, decay, gain, threshold, reset)
    return out, neuron | synapse


def short_term_plasticity(x: Array, release: Any, decay_facilitation: Any, decay_recovery: Any) -> Result:
    """R relaxes to 1 and loses u R x at a spike; 1 - u shrinks by the factor 1 - release x."""
    u, R, out = np.zeros_like(x[0]), np.ones_like(x[0]), []
    for x_t in x:
        u = 1 - (1 - u * decay_facilitation) * (1 - release * x_t)
        R = 1 - (1 - R) * decay_recovery
        released = u * R * x_t
        R = R - released
        out.append(released)
    return np.array(out), {"f": u, "q": 1 - R}


def delay(x: Array, delay: Any, longest: int) -> Result:
    """X at t - delay, interpolated between the two steps around it; inputs older than the longest delay are dropped."""
    before = np.broadcast_to(delay, x[0].shape)
    low = np.floor(before).astype(int)
    out = np.zeros_like(x)
    for t, n in np.ndindex(len(x), before.size):
        k, part = low.flat[n], before.flat[n] - low.flat[n]
        for step, weight in ((k, 1 - part), (k + 1, part)):
            if 0 <= step <= min(longest, t):
                out[t].flat[n] += weight * x[t - step].flat[n]
    padded = np.concatenate([np.zeros((longest, *x[0].shape)), x])
    return out, {"past": padded[::-1][:longest]}
