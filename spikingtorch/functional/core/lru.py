"""Bounded caches, safe across threads and fork."""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from spikingtorch.functional.core.locks import Lock
from spikingtorch.functional.core.undo import run_or_undo

T = TypeVar("T")


class LRUCache(Generic[T]):
    """A dictionary of the most recently used entries, at most ``limit``."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[Hashable, T] = OrderedDict()
        self._dropped: deque[Hashable] = deque()
        self._lock = Lock()
        _all.add(self)

    def get(self, key: Hashable) -> T | None:
        """Return the value of a key, or None."""
        with self._lock:
            if self._dropped:
                self._let_go()
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
            return found

    def keep(self, key: Hashable, entry: T) -> None:
        """Store an entry; if the cache is full, drop the least recently used one."""
        with self._lock:
            self._let_go()
            self._entries[key] = entry
            self._entries.move_to_end(key)
            while len(self._entries) > self._limit:
                self._entries.popitem(last=False)

    def get_or_make(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the value of a key; if there is none, create and store it."""
        found = self.get(key)
        if found is None:
            found = make()
            self.keep(key, found)
        return found

    def drop(self, key: Hashable) -> None:
        """Drop an entry if it exists; if a call is running, the next call drops it.

        An object that dies asks for this at any moment. The garbage collector may run in the middle of a call of this
        thread, which holds the lock.
        """
        self._dropped.append(key)
        if not self._lock.is_mine():
            run_or_undo(self._let_go_now, self._release)

    def clear(self) -> None:
        """Drop all entries."""
        with self._lock:
            self._entries.clear()

    def _let_go_now(self) -> None:
        if self._lock.acquire(blocking=False):
            self._let_go()
            self._release()

    def _release(self) -> None:
        if self._lock.is_mine():
            self._lock.release()

    def _let_go(self) -> None:
        while self._dropped:
            self._entries.pop(self._dropped.popleft(), None)


class Memo(Generic[T]):
    """The results of one object, which it owns: read without a lock, and all of them dropped at a ``limit``.

    Attributes:
        get: returns what was kept under a key, or None.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: dict[Hashable, T] = {}
        self.get = self._entries.get
        _all.add(self)

    def keep(self, key: Hashable, entry: T) -> None:
        """Keep an entry."""
        if len(self._entries) >= self._limit:
            self.clear()
        self._entries[key] = entry

    def clear(self) -> None:
        """Drop all entries."""
        self._entries.clear()


_all: WeakSet[Any] = WeakSet()


def clear_all() -> None:
    """Drop all entries of every cache and memo."""
    for each in list(_all):
        each.clear()
