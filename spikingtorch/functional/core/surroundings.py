"""Surroundings: save and restore the state of Python and torch that analysed code may change when it runs.

They include the random numbers of Python, numpy and torch, which one thread at a time reads and sets.
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
# Torch takes the lock of a generator while it holds Python's lock. A thread that collects garbage there releases
# Python's lock for a moment. Another thread that then asks for the state would hold Python's lock and wait for the
# generator forever.
_generators = Lock()


def random_state(device: torch.device) -> list[Tensor]:
    """Return the state of torch's random numbers, on the CPU and on a device."""
    with _generators:
        states = [torch.get_rng_state()]
        if device.type == "cuda":
            states.append(torch.cuda.get_rng_state(device))
    return states


def set_random_state(device: torch.device, states: list[Tensor]) -> None:
    """Restore the state of torch's random numbers."""
    with _generators:
        torch.set_rng_state(states[0])
        if device.type == "cuda":
            torch.cuda.set_rng_state(states[1], device)


def python_random_state() -> tuple[Any, ...]:
    """Return the states of the random numbers of Python and numpy, for comparison."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return random.getstate(), name, np.asarray(keys).tobytes(), *rest


class RandomNumbers(NamedTuple):
    """The states of all random numbers, to be restored later."""

    of_python: Any  # the state of Python
    of_numpy: Any  # the state of numpy
    of_torch: list[Tensor]  # the states of torch, on the CPU and on the device
    device: torch.device  # that device

    @classmethod
    def now(cls, device: torch.device) -> "RandomNumbers":
        """Return the current states."""
        return cls(random.getstate(), np.random.get_state(), random_state(device), device)

    def same_as(self, other: "RandomNumbers") -> bool:
        """Return True if another object holds the same states."""
        name, keys, *rest = self.of_numpy
        others = other.of_numpy
        return (
            self.of_python == other.of_python
            and (name, *rest) == (others[0], *others[2:])
            and np.array_equal(keys, others[1])
            and all(map(torch.equal, self.of_torch, other.of_torch))
        )

    def put_back(self) -> None:
        """Put them back."""
        random.setstate(self.of_python)
        np.random.set_state(self.of_numpy)
        set_random_state(self.device, self.of_torch)


def rewind_of(generator: Any) -> Callable[[], object] | None:
    """Return what puts a generator of torch, numpy or Python back to its current state; None if it is none."""
    if isinstance(generator, torch.Generator):
        return partial(generator.set_state, generator.get_state())
    if isinstance(generator, np.random.Generator):
        numbers = generator.bit_generator
        return partial(setattr, numbers, "state", numbers.state)
    if isinstance(generator, np.random.RandomState):
        return partial(generator.set_state, generator.get_state(legacy=True))
    return partial(generator.setstate, generator.getstate()) if isinstance(generator, random.Random) else None


def same_random_numbers(device: torch.device, work: Callable[[], T]) -> T:
    """Return the result of ``work``, which may draw random numbers; all their states are restored afterwards."""
    return _then(work, RandomNumbers.now(device).put_back)


def _then(work: Callable[[], T], put_back: Callable[[], None]) -> T:
    """Return the result of ``work``, after everything is restored, even after an error."""

    def run() -> T:
        found = work()
        put_back()
        return found

    return run_or_undo(run, put_back)


class Surroundings(NamedTuple):
    """The surroundings of some code besides modes, to be restored later."""

    random: RandomNumbers  # random numbers
    # for a kind of device, whether autocast is on, its dtype, and whether it caches casts; None without autocast
    autocast: tuple[str, bool, torch.dtype, bool] | None
    default: torch.dtype  # the default dtype of new tensors
    stance: Any  # the stance of torch.compile; None if it is not imported
    cached: int  # the number of contexts that cache parametrized weights

    @classmethod
    def now(cls, device: torch.device) -> "Surroundings":
        """Return the current surroundings of code that runs on a device."""
        kind, autocast = device.type, None
        if torch.amp.is_autocast_available(kind):
            of_kind = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
            autocast = (kind, *of_kind, torch.is_autocast_cache_enabled())
        cached = cached_parametrizations()
        return cls(RandomNumbers.now(device), autocast, torch.get_default_dtype(), stance(), cached)

    def put_back(self) -> None:
        """Restore what has changed."""
        if self.cached:
            set_cached_parametrizations(self.cached)
        if self.autocast is not None:
            set_autocast(*self.autocast)
        torch.set_default_dtype(self.default)
        _restore_stance(self.stance)
        self.random.put_back()


def _restore_stance(before: Any) -> None:
    if before is not None and stance() is not before:
        set_stance(before)


def compile_nothing() -> None:
    """Make compiled functions of torch.compile run their Python code instead."""
    if compiler_is_loaded():
        torch.compiler.set_stance("force_eager")


def uncompiled(work: Callable[[], T]) -> T:
    """Return the result of ``work``, in which functions that torch.compile has compiled run their Python code."""

    def run() -> T:
        compile_nothing()
        return work()

    return _then(run, partial(_restore_stance, stance()))


def set_autocast(kind: str, on: bool, dtype: torch.dtype | None, caches: bool) -> None:
    """Switch autocast on or off for a kind of device that has it; without a dtype, keep its dtype."""
    if not torch.amp.is_autocast_available(kind):
        return
    torch.set_autocast_enabled(kind, on)
    if dtype is not None:
        torch.set_autocast_dtype(kind, dtype)
    torch.set_autocast_cache_enabled(caches)


def isolated(device: torch.device, work: Callable[[], T]) -> T:
    """Return the result of ``work`` outside of all transforms and dispatch modes, and undo its changes of surroundings.

    On its device, it may draw random numbers, and may set autocast, the default dtype and the recording of gradients.
    """

    def inside() -> T:
        return _then(work, Surroundings.now(device).put_back)

    return outside_transforms(inside)
