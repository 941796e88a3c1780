"""The sources of random numbers, as they are and as they were."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils import _pytree as pytree


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


def generator_state(args: Any) -> bytes | None:
    """Return where the generator is that an operation with these arguments draws from; None if it is not in sight."""
    leaves = pytree.tree_leaves(args)
    given = [leaf.get_state() for leaf in leaves if isinstance(leaf, Generator)]
    if given:
        return given[0].numpy().tobytes()
    devices = [leaf.device if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    # a number may come as a tensor on the CPU
    others = [each for each in devices if isinstance(each, torch.device) and each.type != "cpu"]
    device = others[0] if others else torch.device("cpu")
    if device.type not in ("cpu", "cuda"):
        return None
    return random_state(device)[-1].numpy().tobytes()


def python_rng_state() -> tuple[Any, str]:
    """Return where the generators of Python and numpy are."""
    return random.getstate(), str(np.random.get_state())


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
