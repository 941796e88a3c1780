"""Surroundings: what Python and torch keep for a thread or a process, and code may change that is run to look at it.

Random numbers are among them: those of Python and numpy, and torch's, read and set by one thread at a time.
"""

import random
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from spikingtorch.functional.core.locks import Lock
from spikingtorch.functional.core.modes import outside_transforms
from spikingtorch.functional.core.torch_private import (
    cached_parametrizations,
    compiler_is_loaded,
    set_cached_parametrizations,
    set_stance,
    stance,
)
from spikingtorch.functional.core.undo import run_or_undo

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
    return _then(work, RandomNumbers.now(device).put_back)


def _then(work: Callable[[], T], put_back: Callable[[], None]) -> T:
    """Return what work returns, after everything is put back, whatever becomes of the work."""

    def run() -> T:
        found = work()
        put_back()
        return found

    return run_or_undo(run, put_back)


class Surroundings(NamedTuple):
    """What is around some code, besides modes, so that it can be put back.

    Attributes:
        random: random numbers.
        autocast: on a kind of device, whether it is on, in which dtype, and whether it keeps casts; None without.
        default: dtype of tensors that are made anew.
        stance: what torch.compile is to do; None if nobody has imported it.
        cached: by how many contexts parametrized weights are kept.
    """

    random: RandomNumbers
    autocast: tuple[str, bool, torch.dtype, bool] | None
    default: torch.dtype
    stance: Any
    cached: int

    @classmethod
    def now(cls, device: torch.device) -> "Surroundings":
        """Return them as they are.

        Args:
            device: where the code runs.
        """
        kind, autocast = device.type, None
        if torch.amp.is_autocast_available(kind):
            of_kind = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
            autocast = (kind, *of_kind, torch.is_autocast_cache_enabled())
        cached = cached_parametrizations()
        return cls(RandomNumbers.now(device), autocast, torch.get_default_dtype(), stance(), cached)

    def put_back(self) -> None:
        """Put back what has changed."""
        if self.cached:
            set_cached_parametrizations(self.cached)
        if self.autocast is not None:
            set_autocast(*self.autocast)
        torch.set_default_dtype(self.default)
        _put_back(self.stance)
        self.random.put_back()


def _put_back(before: Any) -> None:
    if before is not None and stance() is not before:
        set_stance(before)


def compile_nothing() -> None:
    """Let what torch.compile has compiled run as it is written."""
    if compiler_is_loaded():
        torch.compiler.set_stance("force_eager")


def uncompiled(work: Callable[[], T]) -> T:
    """Return what work returns, and runs as it is written where torch.compile has compiled something."""

    def run() -> T:
        compile_nothing()
        return work()

    return _then(run, partial(_put_back, stance()))


def set_autocast(kind: str, on: bool, dtype: torch.dtype | None, caches: bool) -> None:
    """Switch autocast on a kind of device on or off, where there is any; without a dtype, in that which it has."""
    if not torch.amp.is_autocast_available(kind):
        return
    torch.set_autocast_enabled(kind, on)
    if dtype is not None:
        torch.set_autocast_dtype(kind, dtype)
    torch.set_autocast_cache_enabled(caches)


def isolated(device: torch.device, work: Callable[[], T]) -> T:
    """Return what work returns outside of every transform and mode of operations; what it changes around is put back.

    Args:
        device: where it runs.
        work: it may draw random numbers, and set autocast, the default dtype and whether gradients are recorded.
    """

    def inside() -> T:
        return _then(work, Surroundings.now(device).put_back)

    return outside_transforms(inside)
