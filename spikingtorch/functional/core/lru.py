"""A bounded LRU cache, safe across threads and fork."""

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar
from weakref import WeakSet

T = TypeVar("T")


class LRUCache(Generic[T]):
    """A dictionary of the entries that were used last.

    Args:
        limit: how many entries there are at most.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[Hashable, T] = OrderedDict()
        self._dropped: deque[Hashable] = deque()
        self._lock = threading.Lock()
        _all.add(self)

    def get(self, key: Hashable) -> T | None:
        """Return what was kept under a key, or None."""
        with self._lock:
            if self._dropped:
                self._let_go()
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
            return found

    def keep(self, key: Hashable, entry: T) -> None:
        """Keep an entry, and drop the one that was used longest ago."""
        with self._lock:
            self._let_go()
            self._entries[key] = entry
            self._entries.move_to_end(key)
            while len(self._entries) > self._limit:
                self._entries.popitem(last=False)

    def drop(self, key: Hashable) -> None:
        """Drop an entry, if it is there; where a call is going on, with the next one.

        That is asked for when an object dies, at any moment: where the garbage is collected in the midst of a call of
        this very thread, which holds the lock.
        """
        self._dropped.append(key)
        if self._lock.acquire(blocking=False):
            try:
                self._let_go()
            finally:
                self._lock.release()

    def clear(self) -> None:
        """Drop all entries."""
        with self._lock:
            self._entries.clear()

    def _let_go(self) -> None:
        while self._dropped:
            self._entries.pop(self._dropped.popleft(), None)

    def renew_lock(self) -> None:
        """Take a new lock: in a forked child, one that another thread held at the fork is never released."""
        self._lock = threading.Lock()


_all: WeakSet[LRUCache] = WeakSet()  # type: ignore[type-arg]


def clear_all() -> None:
    """Drop all entries of every cache."""
    for each in list(_all):
        each.clear()


def _after_fork() -> None:
    for each in _all:
        each.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
