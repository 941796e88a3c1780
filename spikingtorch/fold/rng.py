"""The sources of random numbers, as they are and as they were."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor


def random_state(device: torch.device) -> list[Tensor]:
    """Return where torch's random numbers are, on the CPU and on a device."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states


def set_random_state(device: torch.device, states: list[Tensor]) -> None:
    """Go back to where torch's random numbers were."""
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)


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
