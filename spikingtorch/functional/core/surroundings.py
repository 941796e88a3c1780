"""Surroundings: what Python and torch keep for a thread or a process, and code may change that is run to look at it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch

from spikingtorch.functional.core.modes import outside_transforms
from spikingtorch.functional.core.random_state import RandomNumbers
from spikingtorch.functional.core.torch_private import (
    cached_parametrizations,
    compiler_is_loaded,
    set_cached_parametrizations,
    set_stance,
    stance,
)
from spikingtorch.functional.core.whole import whole

T = TypeVar("T")


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
    put_back = partial(_put_back, stance())

    def run() -> T:
        compile_nothing()
        found = work()
        put_back()
        return found

    return whole(run, put_back)


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
        before = Surroundings.now(device)

        def then() -> T:
            found = work()
            before.put_back()
            return found

        return whole(then, before.put_back)

    return outside_transforms(inside)
