"""The leaky neuron with an adaptive threshold."""

from typing import Any

import numpy as np

from spikingtorch.verification.oracles.reset import Array, Reset, Result, by_subtraction
from spikingtorch.verification.oracles.spikes import spikes, trace


def adaptive_leaky(
    x: Array,
    decay: Any,
    decay_adaptation: Any,
    adaptation: Any,
    gain: Any = 1.0,
    threshold: Any = 1.0,
    reset: Reset = by_subtraction,
) -> Result:
    """W = decay reset(w, s) + gain x, with a threshold raised by a running mean of all spikes before."""
    w, s, theta, out = np.zeros_like(x[0]), np.zeros_like(x[0]), threshold, [np.zeros_like(x[0])]
    for x_t in x:
        w = decay * reset(w, s, theta) + gain * x_t
        theta = threshold + adaptation * _mean(np.array(out), decay_adaptation)
        s = spikes(w, theta)
        out.append(s)
    return np.array(out[1:]), {"v": reset(w, s, theta), "a": _mean(np.array(out), decay_adaptation)}


def _mean(s: Array, decay: Any) -> Array:
    last: Array = (1 - decay) * trace(s, decay)[-1]
    return last
