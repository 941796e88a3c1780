"""A run whose process is killed at a random moment goes on from the last checkpoint, and loses nothing."""

import contextlib
import functools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.distributed.ranks import Ranks
from tests.distributed.training import Run, same
from tests.distributed.training import steps as saved
from tests.processes import ROOT
from tests.surroundings import on_threads

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
RESTARTS = ["--max-restarts", "1", "--monitor-interval", "0.1"]
UNTIL = 25  # steps, with a checkpoint at each


def whole(folder: Path, wrap: str) -> dict[str, Tensor]:
    return Run(folder, wrap).train(UNTIL).end()


def appeared(folder: Path, pattern: str, within: float = 90) -> Path:
    """Wait for a file or folder, and return it."""
    end = time.monotonic() + within
    while not (found := [*folder.glob(pattern)]):
        assert time.monotonic() < end, f"{pattern} has not been written within {within} s"
        time.sleep(0.002)
    return found[0]


def run_and_kill(folder: Path, command: list[str], ranks: int, seed: int) -> int:
    """Start a script, kill one of its ranks at a random moment of a random step, and return how the script ends."""
    draw = random.Random(seed)
    variables = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with (folder / "said").open("w") as said:
        script = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said, start_new_session=True, env=variables)
    try:
        pid = json.loads(appeared(folder, f"pid-{draw.randrange(ranks)}-0").read_text())
        if step := draw.randrange(UNTIL - 7):
            appeared(folder / "checkpoints", f"step-{step:08}*")
        time.sleep(draw.uniform(0, 0.1))
        os.kill(pid, signal.SIGKILL)
        return script.wait(120)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(script.pid, signal.SIGKILL)


def killed(folder: Path, wrap: str) -> list[str]:
    return ["-m", "tests.distributed.killed", str(folder), wrap, str(UNTIL)]


@pytest.mark.long
def test_a_process_that_is_killed_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    with on_threads(1):
        assert run_and_kill(tmp_path, [sys.executable, *killed(tmp_path, "plain")], 1, 0) == -signal.SIGKILL
        expected, found = whole(tmp_path / "whole", "plain"), whole(tmp_path / "checkpoints", "plain")
    assert same([expected], [found])


@pytest.fixture(scope="module")
def wholes(ranks: Ranks, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Any]]:
    """How two ranks end that nobody kills."""
    return functools.cache(lambda wrap: ranks.run(2, whole, tmp_path_factory.mktemp("whole"), wrap))


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.night) for seed in range(1, 5))])
@pytest.mark.parametrize("wrap", ["ddp", "fsdp"])
def test_torchrun_starts_ranks_anew_and_they_end_with_the_same_bits(
    wholes: Callable[[str], list[Any]], tmp_path: Path, wrap: str, seed: int
) -> None:
    expected = wholes(wrap)
    starts = [sys.executable] if wrap == "fsdp" else [*TORCHRUN, *RESTARTS]  # killed.py starts ranks by itself
    ended = run_and_kill(tmp_path, [*starts, *killed(tmp_path, wrap)], 2, seed)
    assert ended == 0, (tmp_path / "said").read_text()[-5000:]
    ends = [json.loads((tmp_path / f"trained-{rank}-1").read_text()) for rank in range(2)]  # of the second start
    assert all(steps[-1] == UNTIL for _, *steps in ends)
    assert same(expected, [torch.load(tmp_path / f"end-{rank}.pt") for rank in range(2)])
    complete = saved(tmp_path / "checkpoints")
    assert complete == [f"step-{step:08}" for step in (UNTIL - 1, UNTIL)]
