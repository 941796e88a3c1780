"""The checksum of a tensor, by its C function and by torch."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch.functional import checksum as file
from spikingtorch.functional.checksum import checksum
from tests.surroundings import on_threads
from tests.widths import FLOATS

DTYPES = [*FLOATS, torch.int64, torch.int8, torch.bool, torch.complex64]
CHANGES: dict[str, Callable[[Tensor], Any]] = {
    "one number": lambda x: x[3, 5].copy_(~x[3, 5] if x.dtype == torch.bool else x[3, 5] + 1),
    "the last number": lambda x: x[-1, -1].copy_(~x[-1, -1] if x.dtype == torch.bool else x[-1, -1] + 1),
    "a spike moves by a neuron": lambda x: x[:, 7:9].copy_(x[:, [8, 7]]),
    "a spike moves by a step": lambda x: x[3:5].copy_(x[[4, 3]]),
    "two spikes move against each other": lambda x: (x[:, 7:9].copy_(x[:, [8, 7]]), x[:, 20:22].copy_(x[:, [21, 20]])),
    "all move by one": lambda x: x.copy_(x.roll(1, 1)),
    "two samples change places": lambda x: x.copy_(x[[1, 0, *range(2, len(x))]]),
}


@pytest.fixture(params=["C", "torch"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "torch":
        monkeypatch.setattr(file, "_function", lambda: None)
    return str(request.param)


def spikes(dtype: torch.dtype, width: int = 37) -> Tensor:
    x = (torch.rand(9, width, generator=torch.Generator().manual_seed(0)) < 0.4).to(dtype)
    x[:, 7], x[:, 8], x[:, 20], x[:, 21] = x[:, 8] ^ True if dtype == torch.bool else 1 - x[:, 8], x[:, 8], 0, 1
    return x


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_it_sees_numbers_and_their_places(way: str, dtype: torch.dtype, change: str) -> None:
    x = spikes(dtype)
    before, copied = checksum(x), x.clone()
    assert before == checksum(copied) == checksum(x.clone().T.contiguous().T), way
    CHANGES[change](copied)
    assert not torch.equal(x, copied)
    assert checksum(copied) != before


def test_it_sees_shape_sign_and_any_single_bit(way: str) -> None:
    x = spikes(torch.float32, 40_000)
    before = checksum(x)
    assert checksum(x.view(-1)) != before, way
    assert checksum(torch.zeros(3)) != checksum(-torch.zeros(3))
    assert checksum(torch.zeros(0, 3)) == checksum(torch.zeros(0, 3)) != checksum(torch.zeros(3, 0)) or way == "torch"
    found = {before}
    for bit in range(32):
        word = x.view(torch.int32).view(-1)[bit * 9_001]
        word ^= 1 << bit if bit < 31 else -(1 << 31)
        found.add(checksum(x))
        word ^= 1 << bit if bit < 31 else -(1 << 31)
    assert len(found) == 33
    with on_threads(1):
        assert checksum(x) == before
    assert checksum(torch.cat([x[5:], x[:5]])) != before
