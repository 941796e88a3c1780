"""The cache that everything compiled is found in again."""

import importlib
import pkgutil
from collections.abc import Callable

from spikingtorch import functional
from spikingtorch.functional.core.lru import LRUCache
from tests.processes import at_once


class Key:
    """A key whose comparison, which the cache asks for while it holds its lock, does something else as well."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self._meanwhile = meanwhile

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        self._meanwhile()
        return self is other


def test_what_was_used_last_stays() -> None:
    cache: LRUCache[int] = LRUCache(2)
    cache.keep("a", 1)
    cache.keep("b", 2)
    assert cache.get("a") == 1
    cache.keep("c", 3)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)
    cache.clear()
    assert cache.get("a") is None


def test_an_entry_is_kept_anew_after_it_was_dropped() -> None:
    cache: LRUCache[int] = LRUCache(2)
    cache.keep("a", 1)
    cache.drop("a")
    assert cache.get("a") is None
    cache.drop("a")
    cache.keep("a", 2)
    assert cache.get("a") == 2


def test_entries_are_dropped_while_the_cache_is_at_work() -> None:
    """As the garbage collector does, which may run anywhere."""
    cache: LRUCache[int] = LRUCache(4)
    cache.keep("gone", 1)
    cache.keep(Key(lambda: cache.drop("gone")), 2)

    def look() -> None:
        assert cache.get(Key(lambda: cache.drop("gone"))) is None

    at_once(look)  # which fails if it hangs
    assert cache.get("gone") is None


def test_every_cache_of_the_package_is_bounded() -> None:
    found = {}
    for module in pkgutil.walk_packages(functional.__path__, f"{functional.__name__}."):
        for name, item in vars(importlib.import_module(module.name)).items():
            if hasattr(item, "cache_info") and item.__module__.startswith("spikingtorch"):
                code = item.__wrapped__.__code__
                found[name] = item.cache_info().maxsize if code.co_argcount else 1
    assert {"forward_kernel", "backward_kernel"} <= found.keys()
    assert all(found.values()), found
