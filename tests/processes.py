"""Threads that start at once, and Python in a process of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """Run functions in as many threads, all starting at once, and return what they return."""
    barrier, found = threading.Barrier(len(works)), dict[int, Any]()

    def run(index: int) -> None:
        barrier.wait(30)
        found[index] = works[index]()

    team = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(len(works))]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join(120)
    assert len(found) == len(works), "a thread hangs, or has failed"
    return [found[index] for index in range(len(works))]


def python(*command: object, timeout: float = 150, **variables: str) -> str:
    """Run Python in a process group of its own, with variables of the environment, and return what it prints.

    All of the group ends, even if it hangs.
    """
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"} | variables,
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, f"{out}{err}"
    return out
