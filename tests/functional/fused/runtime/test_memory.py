"""Fresh memory of kernels: where huge pages are asked for."""

import pytest
import torch

from spikingtorch import functional as F
from spikingtorch.functional.core import allocation

HUGE = 2**21


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """What the system is asked for."""
    found: list[tuple[int, int, int]] = []
    monkeypatch.setattr(allocation, "_madvise", lambda: lambda *args: found.append(args))
    return found


def test_huge_pages_lie_within_fresh_memory(asked: list[tuple[int, int, int]]) -> None:
    device = torch.device("cpu")
    allocation.empty((allocation.HOLDS_HUGE_PAGE // 4 - 1,), torch.float32, device)
    assert not asked
    for numbers in (allocation.HOLDS_HUGE_PAGE // 4, 3_000_001):
        asked.clear()
        tensor = allocation.empty((numbers,), torch.float32, device)
        ((start, size, advice),) = asked
        assert advice == 14
        assert start % HUGE == size % HUGE == 0
        assert tensor.data_ptr() <= start < tensor.data_ptr() + HUGE
        assert 0 <= tensor.data_ptr() + tensor.nbytes - (start + size) < HUGE


def test_outputs_of_a_scan(asked: list[tuple[int, int, int]]) -> None:
    state = F.LIFState(torch.zeros(1, 4096))
    for T, number in ((16, 0), (256, 1)):
        x = torch.rand(T, 1, 4096)
        F.scan(F.lif_step, state, x, params={"decay": 0.9, "threshold": 1.0})
        asked.clear()
        F.scan(F.lif_step, state, x, params={"decay": 0.9, "threshold": 1.0})
        assert len(asked) == number
