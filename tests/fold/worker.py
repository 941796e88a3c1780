"""Half a batch in each of two processes, run by test_composition as ``python -m tests.fold.worker FOLDER``."""

import datetime
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from tests.fold_nets import cotangent_like, network, train

NAME, N, T = "LIF, learning", 6, 5
CALLS = (1, True), (2, False)  # the seed of their inputs, and their init
PATIENCE = datetime.timedelta(seconds=60)


def work(rank: int, folder: str) -> None:
    """Write the outputs, and the gradients that the processes have agreed upon, for two calls of a stream."""
    torch.set_num_threads(1)
    rendezvous = (Path(folder) / "rendezvous").as_uri()
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2, timeout=PATIENCE)
    model = network(NAME)
    parallel = DistributedDataParallel(model)
    found = []
    for seed, init in CALLS:
        parallel.zero_grad()
        x = train(model, N, T, seed).chunk(2)[rank].requires_grad_()
        out = parallel(x, init=init)
        weights = cotangent_like(torch.zeros(N, T, 3, dtype=x.dtype)).chunk(2)[rank]
        (out * weights).sum().backward()
        # DistributedDataParallel takes the mean over the processes
        slopes = {name: 2 * p.grad for name, p in model.named_parameters() if p.grad is not None}
        found.append({"out": out.detach(), "x": x.grad, "mode": model.explain().mode, "slopes": slopes})
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()
    # a DistributedDataParallel that is gone still keeps the threads of gloo, and one of them that lets go of a tensor
    # while the interpreter comes to its end aborts the process: so there is no such end
    os._exit(0)


if __name__ == "__main__":
    spawn(work, (sys.argv[1],), nprocs=2)
    print("done")
