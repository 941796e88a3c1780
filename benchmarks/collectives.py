"""What processes send each other in a step of training, how long it takes, and what a formula makes of more processes.

    .venv/bin/torchrun --standalone --nproc-per-node 2 -m benchmarks.collectives

The network is five Linear(1024) and LIF, T = 100, in float32, on gloo. It prints the collectives of a step by
``DistributedDataParallel`` and by ``fully_shard`` of each layer and of the root, the times of collectives of several
sizes, and the latency and bandwidth that the formulas of ``all_reduce`` and ``one_way`` need to give these times. Then
it prints what these formulas give for 8, 64 and 512 devices with ``--latency`` and ``--bandwidth``, which nobody has
measured here. It ends with 1 if shards of each layer take longer than they may.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.report import table
from benchmarks.subject import Call, descent, in_turns
from examples.processes import together
from spikingtorch import LIF, SpikingNet

WIDTH, LAYERS, T = 1024, 5, 100
ROOT, FEWER = "FSDP, root alone", "FSDP, reshard_after_forward=False"
# how many times as long as with the root sharded alone a step may take with each layer sharded
ALLOWED = 1.5
KINDS = {"allreduce_": "all-reduce", "_allgather_base_": "all-gather", "_reduce_scatter_base_": "reduce-scatter"}


def all_reduce(size: float, n: int, latency: float, bandwidth: float) -> float:
    """Return the seconds of an all-reduce of so many bytes around a ring of n processes.

    t = 2 (n - 1) (latency + size / (n bandwidth))

    Each process sends 2 (n - 1) / n of the bytes.
    """
    return 2 * one_way(size, n, latency, bandwidth)


def one_way(size: float, n: int, latency: float, bandwidth: float) -> float:
    """Return the seconds of an all-gather or a reduce-scatter, of so many bytes on all processes together.

    t = (n - 1) (latency + size / (n bandwidth))
    """
    return (n - 1) * (latency + size / (n * bandwidth))


class Counted(TorchDispatchMode):
    """Counts collectives, and the bytes of the tensors that all processes have together.

    Attributes:
        calls: by name.
        sizes: by name, in bytes.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: Counter[str] = Counter()
        self.sizes: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = KINDS.get(func._schema.name.removeprefix("c10d::"))
        if name is not None:
            self.calls[name] += 1
            tensors = [[leaf for leaf in pytree.tree_leaves(each) if isinstance(leaf, Tensor)] for each in args]
            self.sizes[name] += max(sum(tensor.nbytes for tensor in each) for each in tensors)
        return func(*args, **(kwargs or {}))


def network(kind: str) -> nn.Module:
    """Return the network, plain, in copies or in shards."""
    torch.manual_seed(0)
    layers = [layer for _ in range(LAYERS) for layer in (nn.Linear(WIDTH, WIDTH), LIF(tau=4.0))]
    model = SpikingNet(nn.Sequential(*layers))
    if kind == "plain":
        return model
    if kind == "DDP":
        return DistributedDataParallel(model)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in layers[::2] if kind != ROOT else ():
        fully_shard(layer, mesh=mesh, reshard_after_forward=kind != FEWER)
    if kind != "FSDP, layers alone":
        fully_shard(model, mesh=mesh)
    return model


def steps(kinds: Sequence[str], batch: int, rounds: int = 15) -> dict[str, tuple[Counted, float]]:
    """Return the collectives of a step of training, by the kind of the network, and its seconds in turns."""

    def step_of(kind: str) -> Call:
        model = network(kind)
        step = descent(torch.optim.SGD(model.parameters(), lr=1e-3), lambda: model(x).mean())

        def together() -> None:
            step()
            dist.barrier()

        return together

    x = (torch.rand(batch, T, WIDTH, generator=torch.Generator().manual_seed(dist.get_rank())) < 0.2).float()
    calls = {kind: step_of(kind) for kind in kinds}
    # in the first two rounds, a network is looked at, and kernels are compiled
    seconds, found = in_turns(calls, rounds, 2), {}
    for kind, call in calls.items():
        with Counted() as counted:
            call()
        found[kind] = counted, median(seconds[kind])
    return found


def timed(work: Callable[[], Any], rounds: int) -> float:
    """Return the fewest seconds of some work that all processes begin together; others may be on the cores, too."""
    found = []
    for _ in range(rounds + 1):
        dist.barrier()
        begin = time.perf_counter()
        work()
        found.append(time.perf_counter() - begin)
    return min(found[1:])


def collectives() -> tuple[list[list[str]], float, float]:
    """Return the times of collectives by size, and the latency and bandwidth that explain those of the all-reduce."""
    n, rows, of_all_reduce = dist.get_world_size(), [], {}
    for size in (2**12, 2**18, 2**22, 2**24):
        whole, part = torch.zeros(size // 4), torch.zeros(size // 4 // n)
        works = (
            lambda whole=whole: dist.all_reduce(whole),
            lambda whole=whole, part=part: dist.all_gather_into_tensor(whole, part),
            lambda whole=whole, part=part: dist.reduce_scatter_tensor(part, whole),
        )
        seconds = [timed(work, 20) for work in works]
        of_all_reduce[size] = seconds[0]
        rows.append([f"{size // 2**10:,} KiB", *(f"{each * 1e3:.2f}" for each in seconds)])
    small, large = min(of_all_reduce), max(of_all_reduce)
    latency = of_all_reduce[small] / (2 * (n - 1))
    bandwidth = 2 * (n - 1) / n * (large - small) / (of_all_reduce[large] - of_all_reduce[small])
    return rows, latency, bandwidth


def predicted(latency: float, bandwidth: float) -> list[list[str]]:
    """Return what the formulas give for more devices: megabytes that each sends in a step, and milliseconds."""
    layer, together, rows = 4 * (WIDTH * WIDTH + WIDTH), 8, []
    for n in (8, 64, 512):
        # in two buckets, as DDP has them here: the last layer, and all others
        copies = sum(all_reduce(size, n, latency, bandwidth) for size in (layer, (LAYERS - 1) * layer))
        shards = 3 * LAYERS * one_way(layer, n, latency, bandwidth)
        # shards in groups of 8, and an all-reduce of a shard among the groups
        both = 3 * LAYERS * one_way(layer, together, latency, bandwidth)
        both += LAYERS * all_reduce(layer / together, n // together, latency, bandwidth)
        sent = LAYERS * layer * (n - 1) / n / 2**20
        times = [f"{each * 1e3:.1f}" for each in (copies, shards, both)]
        rows.append([f"{n}", f"{2 * sent:.1f}", times[0], f"{3 * sent:.1f}", *times[1:]])
    return rows


def main() -> int:
    """Measure on the processes that torchrun has started, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=4, help="samples of a process")
    parser.add_argument("--latency", type=float, default=10.0, help="of a message between devices, in microseconds")
    parser.add_argument("--bandwidth", type=float, default=25.0, help="of a device's link, in gigabytes a second")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with together(timedelta(minutes=2)):
        n = dist.get_world_size()
        found = steps(("plain", "DDP", ROOT, FEWER, "FSDP, layers alone", "FSDP"), options.batch)
        over = {kind: seconds / found[ROOT][1] for kind, (_, seconds) in found.items()}
        lines = []
        for kind, (counted, seconds) in found.items():
            said = [f"{counted.calls[name]} of {counted.sizes[name] / 2**20:.1f} MiB" for name in KINDS.values()]
            costs = [f"{seconds * 1e3:.0f}", f"{over[kind]:.2f}"]
            lines.append([kind, *(each if each[0] != "0" else "" for each in said), *costs])
        rows, latency, bandwidth = collectives()
        if dist.get_rank() == 0:
            heads = [f"{name}, ms" for name in KINDS.values()]
            title = f"A step of {n} processes, {options.batch} samples each"
            print(table(title, ["", *KINDS.values(), "ms", f"over {ROOT}"], lines))
            explained = (
                f"latency {latency * 1e6:.0f} us and bandwidth {bandwidth / 1e9:.2f} GB/s explain the all-reduce"
            )
            print(table(f"Collectives of {n} processes by gloo: {explained}", ["bytes", *heads], rows))
            stated = f"{options.latency:g} us and {options.bandwidth:g} GB/s"
            computed = predicted(options.latency / 1e6, options.bandwidth * 1e9)
            head = ["devices", "DDP: MiB sent", "ms", "FSDP: MiB sent", "ms", "FSDP in groups of 8: ms"]
            print(table(f"A step of more devices, computed from {stated}, not measured", head, computed))
    return int(max(over[kind] for kind in over if kind.startswith("FSDP")) > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
