"""Emptying the caches of the library for a test."""

from collections import OrderedDict

import pytest

from spikingtorch.functional.core import lru


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the next call of every step its first one, for the duration of a test."""
    for cache in lru._all:
        monkeypatch.setattr(cache, "_entries", OrderedDict())
