"""Which layers kernels compute."""

from collections.abc import Iterator

import pytest
import torch

from spikingtorch.functional.sparse import kernels
from tests.surroundings import calls_of


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many numbers each layer that kernels compute has as its input."""
    yield calls_of(monkeypatch, kernels, "forward", lambda _, s, *others: s.images * s.height * s.width * s.channels)
    assert torch._C._len_torch_function_stack() == 0
