"""What it costs to watch: a training step of the tutorial's network, plain, under SpikeMonitor, and with records."""

import time
from collections.abc import Callable
from statistics import mean, median

import torch
from torch import Tensor, nn
from tqdm import trange

from benchmarks import launch
from benchmarks.launch import Options
from benchmarks.report import setup, table
from examples.if_mnist import Net
from spikingtorch import SpikeMonitor, SpikingNet, record

# how many times as long as a plain step one may take
ALLOWED = {"SpikeMonitor": 1.02, "record spikes and v": 1.5}
# in a row; of the first two, a network is looked at anew, and in the last one, intervals are looked at
STEPS = 34


def compare(options: Options) -> int:
    """Time the ways in turns, print a table, and return 1 if one takes longer than it may."""
    print(setup(launch.run("machine", options), options))
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = SpikingNet(Net(), 10, warn_silent=False)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3.0)  # so that every layer fires
    x = (torch.rand(32, 8, 1, 28, 28) < 0.2).float()
    found = _in_turns(model, x, 3 if options.quick else 20)
    plain = median(found["plain"])
    rows = [[name, f"{1e3 * median(times):.2f}", f"{median(times) / plain:.3f}"] for name, times in found.items()]
    print(table("A training step of the tutorial's network, batch 32, T = 8", ["watched by", "ms", "over plain"], rows))
    return int(any(median(found[name]) > limit * plain for name, limit in ALLOWED.items()))


def _in_turns(model: SpikingNet, x: Tensor, rounds: int) -> dict[str, list[float]]:
    """Return the mean seconds of a training step in each round, by what watches it."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-5)

    def plain() -> Tensor:
        out: Tensor = model(x)
        return out

    def recorded() -> Tensor:
        out: Tensor = record(model, x, ("spikes", "v")).out
        return out

    found: dict[str, list[float]] = {"plain": [], **{name: [] for name in ALLOWED}}
    for _ in trange(rounds, leave=False):
        found["plain"].append(mean(_times(plain, optimizer)))
        with SpikeMonitor(model):
            found["SpikeMonitor"].append(mean(_times(plain, optimizer)))
        found["record spikes and v"].append(mean(_times(recorded, optimizer)))
    return found


def _times(run: Callable[[], Tensor], optimizer: torch.optim.Optimizer) -> list[float]:
    times = []
    for _ in range(STEPS):
        start = time.perf_counter()
        optimizer.zero_grad()
        nn.functional.cross_entropy(run().sum(1), torch.arange(32) % 10).backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    return times[2:]
