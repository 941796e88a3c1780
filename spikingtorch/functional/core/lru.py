"""A bounded LRU cache, safe across threads and fork."""

import os
import threading
from collections import OrderedDict
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
        self._lock = threading.Lock()
        _all.add(self)

    def get(self, key: Hashable) -> T | None:
        """Return what was kept under a key, or None."""
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
            return found

    def keep(self, key: Hashable, entry: T) -> None:
        """Keep an entry, and drop the one that was used longest ago."""
        with self._lock:
            self._entries[key] = entry
            self._entries.move_to_end(key)
            while len(self._entries) > self._limit:
                self._entries.popitem(last=False)

    def drop(self, key: Hashable) -> None:
        """Drop an entry, if it is there."""
        with self._lock:
            self._entries.pop(key, None)

    def clear(self) -> None:
        """Drop all entries."""
        with self._lock:
            self._entries.clear()

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
