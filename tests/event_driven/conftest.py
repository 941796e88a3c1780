"""Which layers kernels compute."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from spikingtorch.functional.sparse import kernels


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many numbers each layer that kernels compute has as its input."""
    found: list[int] = []
    run = kernels.forward

    def noted(s: Any, events: Any, *args: Any) -> bool:
        found.append(s.images * s.height * s.width * s.channels)
        return run(s, events, *args)

    monkeypatch.setattr(kernels, "forward", noted)
    yield found
    assert torch._C._len_torch_function_stack() == 0
