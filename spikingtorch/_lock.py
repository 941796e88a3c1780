"""A lock that belongs to one object: its copies, and what comes out of a pickle, have their own."""

import threading
from typing import Any


class CallLock:
    """Lets one thread at a time into a call, and that thread again if the call leads back to itself."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __reduce__(self) -> Any:
        return CallLock, ()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()
