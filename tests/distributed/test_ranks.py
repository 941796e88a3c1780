"""The processes that run the tests of this folder."""

import time

import pytest
import torch
import torch.distributed as dist

from tests.distributed.ranks import RankError, Ranks


def summed(value: float) -> tuple[int, float]:
    mine = torch.tensor(value * (dist.get_rank() + 1))
    dist.all_reduce(mine)
    return dist.get_rank(), mine.item()


def raises_on(rank: int) -> None:
    if dist.get_rank() == rank:
        raise ValueError("no data")
    dist.barrier()


def test_each_rank_returns_a_value(ranks: Ranks) -> None:
    assert ranks.run(2, summed, 1.0) == [(0, 3.0), (1, 3.0)]
    assert ranks.run(4, summed, 1.0) == [(rank, 10.0) for rank in range(4)]


def test_an_error_names_its_rank_and_ends_the_others(ranks: Ranks) -> None:
    start = time.monotonic()
    with pytest.raises(RankError, match=r"rank 1: .*\n(.*\n)*ValueError: no data") as found:
        ranks.run(2, raises_on, 1)
    assert 1 in found.value.errors
    assert time.monotonic() - start < 15
    assert ranks.run(2, summed, 2.0) == [(0, 6.0), (1, 6.0)]  # and the next run is none the wiser
