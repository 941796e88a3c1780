"""Inputs and constants, the same for every library."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.case import Size

Array = npt.NDArray[np.float32]

TAU = 8.0
DECAY = math.exp(-1.0 / TAU)
THRESHOLD = 1.0
BETA = 5.0

# the neuron of three states: time constants of 8, 20 and 8 steps, and what a spike adds to its threshold
ADAPTIVE = {"decay_v": DECAY, "decay_a": math.exp(-1.0 / 20.0), "decay_i": DECAY, "jump": 0.1}

# uniform between zero and this: a LIF neuron of time constant TAU then spikes in about one step of eight
DRIVE = 0.4

# of recurrent weights, normal / sqrt(N): their currents are alike at every N. With twice the gain, the gradient of a
# library that sends none through the reset outgrows float32 in 500 steps
RECURRENT_GAIN = 0.2


def draw(size: Size, drives: Sequence[float] = (DRIVE,), seed: int = 0) -> tuple[list[Array], Array]:
    """Return an input for each drive, uniform between zero and the drive, and a normal cotangent, of shape (T, B, N).

    Args:
        size: shape of each array.
        drives: upper ends of the inputs.
        seed: of the generator.
    """
    generator = np.random.default_rng(seed)
    shape = (size.T, size.B, size.N)
    xs = [drive * generator.random(shape, dtype=np.float32) for drive in drives]
    return xs, generator.standard_normal(shape, dtype=np.float32)


def draw_weight(N: int) -> Array:
    """Return the recurrent weights of N neurons, shape (N, N)."""
    normal = np.random.default_rng(1).standard_normal((N, N), dtype=np.float32)
    return np.float32(RECURRENT_GAIN / math.sqrt(N)) * normal
