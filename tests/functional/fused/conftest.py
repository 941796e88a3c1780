"""Fixtures of the tests of the fused backend."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from spikingtorch.functional.dispatch import explain

DETERMINISTIC: Any = torch.utils.deterministic


@pytest.fixture
def poisoned() -> Iterator[None]:
    """Fill every fresh tensor with NaN."""
    before = torch.are_deterministic_algorithms_enabled(), DETERMINISTIC.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    DETERMINISTIC.fill_uninitialized_memory = True
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(before[0])
    DETERMINISTIC.fill_uninitialized_memory = before[1]


@pytest.fixture
def warn_anew() -> Iterator[None]:
    """Let a warning come that the library gives once."""
    explain._warn_once.cache_clear()
    yield
    explain._warn_once.cache_clear()
