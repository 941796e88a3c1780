"""Steps around other steps, each made once."""

from collections.abc import Callable
from typing import Any

import torch

from spikingtorch.functional.core.compare import typed
from spikingtorch.functional.core.lru import LRUCache

_made: LRUCache[Any] = LRUCache(256)


def once(make: Callable[..., Any], *parts: Any) -> Any:
    """Return a step around others as one object for equal ones, by which its scans are found again."""
    if torch.compiler.is_compiling():
        return make(*parts)
    key = make, typed(parts)
    try:
        known = _made.get(key)
    except TypeError:  # a step without a hash
        return make(*parts)
    if known is None:
        known = make(*parts)
        _made.keep(key, known)
    return known
