"""The sigma-delta neuron."""

from typing import Any

import numpy as np

from spikingtorch.verification.oracles.reset import Array, Result


def sigma_delta(x: Array, threshold: Any = 0.1) -> Result:
    """Tell a receiver the rectified sum of the inputs, once it is a threshold or more away from what it knows."""
    sums = np.cumsum(x, axis=0)
    known = [np.zeros_like(x[0])]
    for target in np.maximum(sums, 0.0):
        known.append(np.where(np.abs(target - known[-1]) >= threshold, target, known[-1]))
    return np.diff(np.array(known), axis=0), {"v": sums[-1], "sent": known[-1]}
