"""Processes that join as examples/processes.py has them: one that fails is named by the others, within the timeout."""

import os
import socket
import time
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist

from examples.processes import ProcessError, peak_memory, together
from tests.distributed.ranks import RankError, Ranks


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
