"""Threads: which one runs here, and a lock that lets one at a time into a call."""

import threading
from typing import Any

import torch


def this_thread() -> threading.Thread | None:
    """Return the thread that runs here, or None in torch.compile, whose code may run in any."""
    return None if torch.compiler.is_dynamo_compiling() else threading.current_thread()


class CallLock:
    """Lets one thread at a time into a call, and that thread again if the call leads back to itself.

    It belongs to one object: copies of that, and what comes out of a pickle, have their own.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __reduce__(self) -> Any:
        return CallLock, ()

    def renew(self) -> None:
        """Take a new lock: in a forked child, one that another thread held at the fork is never released."""
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()
