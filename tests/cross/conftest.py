"""Fixtures of the tests of AArch64."""

from collections.abc import Iterator

import pytest
import torch

from spikingtorch.functional.sparse import crossover


@pytest.fixture(autouse=True)
def _small_and_serial(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kernels have one thread, and those for few channels run however few products there are."""
    monkeypatch.setattr(crossover, "_FEW_PRODUCTS", 0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
