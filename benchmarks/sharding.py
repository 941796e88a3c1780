"""What it costs to shard each layer by itself with ``fully_shard``: a training step of five linear layers and LIF.

Two processes run, with gloo and one thread each, and each has a batch of its own. The ways to shard take turns in them.
"""

import json
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.multiprocessing.spawn import spawn

from benchmarks import launch
from benchmarks.launch import Options
from benchmarks.report import setup, table
from spikingtorch import LIF, SpikingNet

WIDTH, DEPTH, T, BATCH, PROCESSES = 1024, 5, 100, 8, 2
WHERE = ("the root", "each layer", "each layer and the root")
# how many times as long as with the root sharded alone a step may take with each layer sharded
ALLOWED = 1.5


def compare(options: Options) -> int:
    """Time the ways to shard in turns, print a table, and return 1 if one takes longer than it may."""
    print(setup(launch.run("machine", options), options))
    with tempfile.TemporaryDirectory() as folder:
        spawn(_work, (folder, 3 if options.quick else 15, 64 if options.quick else WIDTH), nprocs=PROCESSES)
        found: dict[str, list[float]] = json.loads((Path(folder) / "seconds.json").read_text())
    root = median(found[WHERE[0]])
    rows = [[name, f"{1e3 * median(times):.1f}", f"{median(times) / root:.3f}"] for name, times in found.items()]
    title = f"A training step of {DEPTH} x Linear({WIDTH}) and LIF, T = {T}, batch {BATCH} in each process"
    print(table(title, ["fully_shard of", "ms", "over the root"], rows))
    return int(any(median(times) > ALLOWED * root for times in found.values()))


def _network(where: str, width: int) -> SpikingNet:
    torch.manual_seed(0)
    layers = [module for _ in range(DEPTH) for module in (nn.Linear(width, width), LIF())]
    model = SpikingNet(nn.Sequential(*layers), width, warn_silent=False)
    if "layer" in where:
        for layer in layers[::2]:
            fully_shard(layer)
    if "root" in where:
        fully_shard(model)
    return model


def _work(rank: int, folder: str, rounds: int, width: int) -> None:
    """Time the steps as one of the processes; the first one writes the seconds down."""
    torch.set_num_threads(1)
    rendezvous = (Path(folder) / "rendezvous").as_uri()
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=PROCESSES)
    models = {where: _network(where, width) for where in WHERE}
    optimizers = {where: torch.optim.SGD(model.parameters(), 1e-3) for where, model in models.items()}
    x = (torch.rand(BATCH, T, width, generator=torch.Generator().manual_seed(rank)) < 0.2).float()
    found: dict[str, list[float]] = {where: [] for where in WHERE}
    for turn in range(rounds + 2):  # in the first two, a network is looked at, and kernels are compiled
        for where, model in models.items():
            dist.barrier()
            start = time.perf_counter()
            optimizers[where].zero_grad()
            model(x).square().mean().backward()
            optimizers[where].step()
            dist.barrier()
            found[where] += [time.perf_counter() - start] if turn > 1 else []
    modes = {model.explain().mode for model in models.values()}
    assert modes == {"fold"}, f"a network steps: {modes}"
    if rank == 0:
        (Path(folder) / "seconds.json").write_text(json.dumps(found))
    dist.destroy_process_group()
