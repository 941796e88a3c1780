"""The sources of random numbers, as they are and as they were."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from spikingtorch.functional.core.random_state import random_state, set_random_state


def digest(device: torch.device) -> bytes:
    """Return where torch's random numbers are, to be compared."""
    return b"".join([state.numpy().tobytes() for state in random_state(device)])


def python_rng_state() -> tuple[Any, ...]:
    """Return where the generators of Python and numpy are."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return random.getstate(), name, np.asarray(keys).tobytes(), *rest


@contextmanager
def preserved(device: torch.device) -> Iterator[None]:
    """Leave all random numbers where they are."""
    python, array, ours = random.getstate(), np.random.get_state(), random_state(device)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(array)
        set_random_state(device, ours)
