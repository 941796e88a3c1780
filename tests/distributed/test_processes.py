"""Errors of one process that end the others: in calls, in the pool of the tests, and as examples/processes.py has them.

They stand together, because new processes run what comes after each of them.
"""

import math
import os
import socket
import time
from datetime import timedelta
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from examples.processes import ProcessError, peak_memory, together
from tests.distributed.nets import batch, network, shard
from tests.distributed.ranks import RankError, Ranks


def summed(value: float) -> tuple[int, float]:
    mine = torch.tensor(value * (dist.get_rank() + 1))
    dist.all_reduce(mine)
    return dist.get_rank(), mine.item()


def raises_on(rank: int) -> None:
    if dist.get_rank() == rank:
        raise ValueError("no data")
    dist.barrier()


def test_an_error_names_its_rank_and_ends_the_others(ranks: Ranks) -> None:
    assert ranks.run(4, summed, 1.0) == [(rank, 10.0) for rank in range(4)]
    start = time.monotonic()
    with pytest.raises(RankError, match=r"rank 1: .*\n(.*\n)*ValueError: no data") as found:
        ranks.run(2, raises_on, 1)
    assert 1 in found.value.errors
    assert time.monotonic() - start < 15
    assert ranks.run(2, summed, 2.0) == [(0, 6.0), (1, 6.0)]  # and the next run is none the wiser


def fails_on_one(where: str, value: float) -> None:
    """Let the network of rank 1 get a number that it refuses."""
    model: Any = network("blocks")
    if where == "ddp":
        model = DistributedDataParallel(model)
    else:
        shard(model, where)
    x, _ = batch(0)
    model(torch.full_like(x, value) if dist.get_rank() == 1 else x).sum().backward()


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ("ddp", math.nan, "SpikingNet: x holds NaN"),
        ("layers, root", 1e308, "LIF: x holds NaN or infinite values"),  # in its products with the weights
    ],
)
def test_an_error_on_one_process_ends_the_others(ranks: Ranks, where: str, value: float, said: str) -> None:
    with pytest.raises(RankError) as found:
        ranks.run(2, fails_on_one, where, value, collective=2)
    assert said in found.value.errors[1]
    assert "Error" in found.value.errors[0]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return int(found.getsockname()[1])


def fail(port: int, how: str) -> None:
    """Let rank 1 raise, or never come, while the others wait for it in a collective."""
    rank, size = dist.get_rank(), dist.get_world_size()
    dist.destroy_process_group()
    place = {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    os.environ.update(place)
    try:
        with together(timedelta(seconds=2)):
            if rank == 1 and how == "raises":
                raise ValueError("sample 7 has no label")
            if rank == 1:
                time.sleep(3)
            dist.all_reduce(torch.ones(1))
    finally:
        for name in place:
            del os.environ[name]


def test_a_rank_that_raises_is_named_by_the_others(ranks: Ranks) -> None:
    begin = time.monotonic()
    with pytest.raises(RankError) as found:
        ranks.run(3, fail, free_port(), "raises")
    assert time.monotonic() - begin < 30
    assert "ValueError: sample 7 has no label" in found.value.errors[1]
    for rank in (0, 2):
        said = f"ProcessError: process 1 of 3: ValueError: sample 7 has no label. So process {rank} ends, too."
        assert said in found.value.errors[rank]


@pytest.mark.long
def test_a_rank_that_hangs_ends_the_others_at_the_timeout(ranks: Ranks) -> None:
    begin = time.monotonic()
    with pytest.raises(RankError, match=r"(?i)timed out|connection closed") as found:
        ranks.run(2, fail, free_port(), "hangs")
    assert time.monotonic() - begin < 30
    assert 0 in found.value.errors


def test_a_process_alone_is_a_group_and_leaves_none() -> None:
    with together(timedelta(seconds=5)) as device:
        assert dist.get_world_size() == 1
        assert peak_memory(device) > 2**20
    assert not dist.is_initialized()
    with pytest.raises(ValueError, match=r"^mine$"), together(timedelta(seconds=5)):
        raise ValueError("mine")
    assert not issubclass(ProcessError, ValueError)
