"""Emptying what the library remembers of scans."""

import pytest

from spikingtorch.functional.core.lru import LRUCache
from spikingtorch.functional.dispatch import prepared
from spikingtorch.functional.fused.runtime import torch_ops
from spikingtorch.functional.fused.trace import programs


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the next call of every step its first one, for the duration of a test."""
    monkeypatch.setattr(programs, "_recent", LRUCache(64))
    monkeypatch.setattr(prepared, "_prepared", LRUCache(64))
    monkeypatch.setattr(torch_ops, "_ready", LRUCache(64))
