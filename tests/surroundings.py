"""What a test changes around the library: the threads of torch, and emptied caches."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from spikingtorch.functional.core import lru


@contextmanager
def on_threads(number: int) -> Iterator[None]:
    """Let torch work with so many threads, and then with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the next call of every step its first one, for the duration of a test."""
    for cache in lru._all:
        monkeypatch.setattr(cache, "_entries", OrderedDict())
