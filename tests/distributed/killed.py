"""A script that tests kill: trains to a step, and writes down how it ended.

torchrun --nproc-per-node 2 --max-restarts 3 -m tests.distributed.killed FOLDER WRAP STEPS

By itself it runs on one rank; with "fsdp", torchrun's agent starts two in forks, which have imported all of it.
"""

import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # which an optimizer and fully_shard import
import torch.distributed as dist
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from examples.processes import together
from tests.distributed.training import Run


def main() -> None:
    """Train on this rank, from the newest checkpoint on."""
    folder, wrap, until = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    torch.set_num_threads(1)
    with together(timedelta(seconds=20)):
        rank, attempt = dist.get_rank(), os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)
        run = Run(folder / "checkpoints", wrap)
        note(folder / f"pid-{rank}-{attempt}", os.getpid())
        start = time.monotonic()
        run.train(until)
        note(folder / f"trained-{rank}-{attempt}", [time.monotonic() - start, *run.losses])
        torch.save(run.end(), folder / f"end-{rank}.pt")


def note(path: Path, content: Any) -> None:
    """Write a file that is complete as soon as it is there."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content))
    part.rename(path)


if __name__ == "__main__":
    restarts: Any = {"max_restarts": 1, "monitor_interval": 0.1, "start_method": "fork"}
    agent = LaunchConfig(1, 1, 2, rdzv_endpoint="localhost:0", rdzv_backend="c10d", **restarts)
    elastic_launch(agent, main)() if sys.argv[2] == "fsdp" else main()
