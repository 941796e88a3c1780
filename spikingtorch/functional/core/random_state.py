"""Where random numbers are: those of Python and numpy, and torch's, read and set by one thread at a time."""

import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor


class _OneAtATime:
    """A lock; a forked child has a new one.

    Torch takes the lock of a generator while it holds Python's. A thread that collects garbage in there lets go of
    Python's for a moment; another one that then asked for the state would wait for the generator, with Python's lock in
    its hands, and for ever.
    """

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.lock = threading.RLock()


_generators = _OneAtATime()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_generators.renew)


def random_state(device: torch.device) -> list[Tensor]:
    """Return where torch's random numbers are, on the CPU and on a device."""
    with _generators.lock:
        states = [torch.get_rng_state()]
        if device.type == "cuda":
            states.append(torch.cuda.get_rng_state(device))
    return states


def set_random_state(device: torch.device, states: list[Tensor]) -> None:
    """Go back to where torch's random numbers were."""
    with _generators.lock:
        torch.set_rng_state(states[0])
        if device.type == "cuda":
            torch.cuda.set_rng_state(states[1], device)


@contextmanager
def same_random_state(device: torch.device) -> Iterator[None]:
    """Leave torch's random numbers where they are."""
    states = random_state(device)
    try:
        yield
    finally:
        set_random_state(device, states)


def python_random_state() -> tuple[Any, ...]:
    """Return where the random numbers of Python and numpy are, to be compared."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return random.getstate(), name, np.asarray(keys).tobytes(), *rest


@contextmanager
def same_python_random_state() -> Iterator[None]:
    """Leave the random numbers of Python and numpy where they are."""
    python, array = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(array)


@contextmanager
def same_random_numbers(device: torch.device) -> Iterator[None]:
    """Leave all random numbers where they are: those of Python, of numpy and of torch."""
    with same_python_random_state(), same_random_state(device):
        yield
