"""Fixtures of the tests of AArch64."""

from collections.abc import Iterator

import pytest

from spikingtorch.functional.sparse import crossover
from tests.surroundings import on_threads


@pytest.fixture(autouse=True)
def _small_and_serial(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kernels have one thread, and those for few channels run however few products there are."""
    monkeypatch.setattr(crossover, "_FEW_PRODUCTS", 0)
    with on_threads(1):
        yield
