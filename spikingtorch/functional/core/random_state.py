"""Where random numbers are: those of Python and numpy, and torch's, read and set by one thread at a time."""

import random
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from spikingtorch.functional.core.locks import Lock
from spikingtorch.functional.core.whole import whole

T = TypeVar("T")
# Torch takes the lock of a generator while it holds Python's. A thread that collects garbage in there lets go of
# Python's for a moment; another one that then asked for the state would wait for the generator, with Python's lock in
# its hands, and for ever.
_generators = Lock()


def random_state(device: torch.device) -> list[Tensor]:
    """Return where torch's random numbers are, on the CPU and on a device."""
    with _generators:
        states = [torch.get_rng_state()]
        if device.type == "cuda":
            states.append(torch.cuda.get_rng_state(device))
    return states


def set_random_state(device: torch.device, states: list[Tensor]) -> None:
    """Go back to where torch's random numbers were."""
    with _generators:
        torch.set_rng_state(states[0])
        if device.type == "cuda":
            torch.cuda.set_rng_state(states[1], device)


def python_random_state() -> tuple[Any, ...]:
    """Return where the random numbers of Python and numpy are, to be compared."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return random.getstate(), name, np.asarray(keys).tobytes(), *rest


class RandomNumbers(NamedTuple):
    """Where all random numbers are, so that they can be put back there.

    Attributes:
        of_python: those of Python.
        of_numpy: those of numpy.
        of_torch: those of torch, on the CPU and on the device.
        device: which.
    """

    of_python: Any
    of_numpy: Any
    of_torch: list[Tensor]
    device: torch.device

    @classmethod
    def now(cls, device: torch.device) -> "RandomNumbers":
        """Return where they are."""
        return cls(random.getstate(), np.random.get_state(), random_state(device), device)

    def put_back(self) -> None:
        """Put them back."""
        random.setstate(self.of_python)
        np.random.set_state(self.of_numpy)
        set_random_state(self.device, self.of_torch)


def same_random_numbers(device: torch.device, work: Callable[[], T]) -> T:
    """Return what work returns, which may draw random numbers; afterwards all of them are where they were."""
    before = RandomNumbers.now(device)

    def run() -> T:
        found = work()
        before.put_back()
        return found

    return whole(run, before.put_back)
