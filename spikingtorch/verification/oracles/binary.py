"""The McCulloch-Pitts neuron."""

from typing import Any

import numpy as np

from spikingtorch.verification.oracles.reset import Array, Result


def mcpitts(x: Array, threshold: Any) -> Result:
    """S = H(x - threshold)."""
    return np.where(x >= threshold, 1.0, 0.0), {}
