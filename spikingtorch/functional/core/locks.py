"""Locks that survive forks and interrupts."""

import os
from typing import TYPE_CHECKING
from weakref import WeakSet

if TYPE_CHECKING:

    class RLock:
        """The part of Python's lock that is used here; type checkers treat the lock's class as final."""

        def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
            """Take the lock; return whether this was possible."""
            ...

        def release(self) -> None:
            """Release the lock."""

        def __enter__(self) -> bool: ...
        def __exit__(self, *error: object) -> None: ...
        def _is_owned(self) -> bool: ...
        def _at_fork_reinit(self) -> None: ...

else:
    from _thread import RLock


class Lock(RLock):
    """A reentrant lock: one thread at a time enters the ``with`` block, and it may enter the block again.

    A process may be forked while another thread holds the lock. That thread does not exist in the child, where the
    lock is free. An interrupt does not leave the lock taken: C code takes it and releases it, and Python looks for
    interrupts before and after that.
    """

    def __init__(self) -> None:
        _all.add(self)

    def is_mine(self) -> bool:
        """Return True if this thread holds the lock."""
        return self._is_owned()

    def renew(self) -> None:
        """Release the lock in a forked child, unless the thread that forked holds it."""
        if not self.is_mine():
            self._at_fork_reinit()


_all: WeakSet[Lock] = WeakSet()


def _after_fork() -> None:
    for each in list(_all):
        each.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
