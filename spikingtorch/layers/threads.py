"""Threads: which one runs here, and a lock that lets one at a time into a call."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch

from spikingtorch.functional.core.locks import Lock
from spikingtorch.functional.core.modes import Modes
from spikingtorch.functional.core.undo import run_or_undo

T = TypeVar("T")


def this_thread() -> threading.Thread | None:
    """Return the thread that runs here, or None in torch.compile, whose code may run in any."""
    return None if torch.compiler.is_dynamo_compiling() else threading.current_thread()


class CallLock(Lock):
    """Lets one thread at a time into a call, and that thread again if the call leads back to itself.

    A call that does not come to its end is undone. Whoever undoes it may be interrupted as well, or be a thread that a
    forked child does not have: then the next call undoes it, or the fork.

    It belongs to one object: copies of that, and what comes out of a pickle, have their own.
    """

    def __init__(self) -> None:
        super().__init__()
        # how to undo what calls have begun, the innermost last
        self._undos: list[Callable[[], object]] = []

    def __reduce__(self) -> Any:
        return CallLock, ()

    def renew(self) -> None:
        """Release the lock in a forked child, unless the thread that forked holds it, and undo what others began."""
        super().renew()
        if not self.is_mine():
            self._undo(0)

    def run(self, work: Callable[[], T]) -> T:
        """Return what work returns, while calls of other threads wait; if it raises something, undo it."""
        is_first, modes = not self.is_mine(), Modes.now()
        with self:
            if is_first and self._undos:
                self._undo(0)
            start = len(self._undos)
            return run_or_undo(partial(self._finish, work, start), partial(self._undo, start, modes))

    def undo_by(self, undo: Callable[[], object]) -> None:
        """Say how to undo what the work that runs is about to do, before it does; that may be asked for twice."""
        self._undos.append(undo)

    def _finish(self, work: Callable[[], T], start: int) -> T:
        found = work()
        del self._undos[start:]
        return found

    def _undo(self, start: int, modes: Modes | None = None) -> None:
        if modes is not None:
            modes.put_back()
        while len(self._undos) > start:
            self._undos[-1]()
            self._undos.pop()
