"""Threads: the current one, and a lock that lets one thread at a time into a call."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch

from spikingtorch.functional.core.locks import Lock
from spikingtorch.functional.core.modes import Modes
from spikingtorch.functional.core.undo import run_or_undo
from spikingtorch.layers.frame import Frame, go_back_to, running

T = TypeVar("T")


def this_thread() -> threading.Thread | None:
    """Return the current thread, or None in torch.compile, whose code may run in any thread."""
    return None if torch.compiler.is_dynamo_compiling() else threading.current_thread()


class CallLock(Lock):
    """A lock that lets one thread at a time into a call; the same thread may enter again.

    A call that does not end normally is undone. The undoing can be interrupted as well; then the next call undoes it.
    In a forked child the thread of the call does not exist; then the fork undoes it.

    The lock belongs to one object: a copied or unpickled object has its own lock.
    """

    def __init__(self) -> None:
        super().__init__()
        # functions that undo the running calls, the innermost last
        self._undos: list[Callable[[], object]] = []

    def __reduce__(self) -> Any:
        return CallLock, ()

    def renew(self) -> None:
        """In a forked child, release the lock and undo other threads' calls, unless the forking thread holds it."""
        super().renew()
        if not self.is_mine():
            self._undo(0)

    def run(self, work: Callable[[], T]) -> T:
        """Return the result of work while calls of other threads wait; if work raises, undo it."""
        is_first = not self.is_mine()
        with self:
            if is_first and self._undos:
                self._undo(0)
            work, before = partial(self._finish, work, len(self._undos)), (Modes.now(), running())
            return run_or_undo(work, partial(self._undo, len(self._undos), before))

    def run_plain(self, work: Callable[[], T], grad: bool) -> T:
        """Return the result of work in the thread of the lock, outside of calls and modes; if work raises, undo it."""
        return run_or_undo(work, partial(self._undo_plain, grad))

    def _undo_plain(self, grad: bool) -> None:
        self._undo(0, (Modes.none(grad), None))

    @property
    def has_to_undo(self) -> bool:
        """Whether calls are running, or were interrupted while they were undone."""
        return bool(self._undos)

    def undo_by(self, *undos: Callable[[], object]) -> None:
        """Register functions that undo the next actions of the running work, the last first; they may run twice."""
        self._undos += undos

    def _finish(self, work: Callable[[], T], start: int) -> T:
        found = work()
        del self._undos[start:]
        return found

    def _undo(self, start: int, before: tuple[Modes, Frame | None] | None = None) -> None:
        if before is not None:
            before[0].put_back()
            go_back_to(before[1])
        while len(self._undos) > start:
            self._undos[-1]()
            self._undos.pop()
