"""Whole networks, ours and other libraries': the same weights, the same spikes, and a chain of layers.

This file has the names alone, so that the main process, which runs the sections, loads no library.
"""

from benchmarks.workloads import DIGITS, OURS

# the modes of SpikingNet; OURS is its default
FOLD = f"{OURS}, fold"
STEP = f"{OURS}, step"
CHUNKED = f"{OURS}, fold by 8"
OURS_IN_EVERY_MODE = (OURS, FOLD, STEP)

# behind a name: with weights, and so images, whose channels lie beside each other
CHANNELS_LAST = ", channels-last"

OLDER = "older spikingtorch"
EAGER = "eager loop"

# the synapses with ReLU in place of neurons: what no implementation of neurons can be faster than
FLOOR = "ReLU, no neurons"

# images in one call of the training on digits, some batches: a step by itself takes a few milliseconds
DIGITS_IN_A_CALL = 512


def batches(network: str, B: int) -> int:
    """Return how many training steps one call takes, each on a batch of its own."""
    return max(1, DIGITS_IN_A_CALL // B) if network == DIGITS else 1
