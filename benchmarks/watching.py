"""What it costs to watch: a training step of the tutorial's network, plain, under SpikeMonitor, and with records."""

from statistics import mean, median

import torch
from torch.nn.functional import cross_entropy

from benchmarks.launch import Options
from benchmarks.report import table
from benchmarks.subject import Call, descent, in_turns, seconds
from examples.if_mnist import Net
from spikingtorch import SpikeMonitor, SpikingNet, record

# how many times as long as a plain step one may take
ALLOWED = {"SpikeMonitor": 1.02, "record spikes and v": 1.5}
# in a row; of the first two, a network is looked at anew, and in the last one, intervals are looked at
STEPS = 34


def compare(options: Options) -> int:
    """Time the ways in turns, print a table, and return 1 if one takes longer than it may."""
    torch.manual_seed(0)
    model = SpikingNet(Net(), 10, warn_silent=False)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3.0)  # so that every layer fires
    x, y = (torch.rand(32, 8, 1, 28, 28) < 0.2).float(), torch.arange(32) % 10
    optimizer = torch.optim.Adam(model.parameters(), 1e-5)
    plain = descent(optimizer, lambda: cross_entropy(model(x).sum(1), y))
    recorded = descent(optimizer, lambda: cross_entropy(record(model, x, ("spikes", "v")).out.sum(1), y))

    def monitored() -> float:
        with SpikeMonitor(model):
            return _mean(plain)

    ways = {"plain": lambda: _mean(plain), "SpikeMonitor": monitored, "record spikes and v": lambda: _mean(recorded)}
    found = in_turns(ways, 3 if options.quick else 20, warm_up=0)
    base = median(found["plain"])
    rows = [[name, f"{1e3 * median(times):.2f}", f"{median(times) / base:.3f}"] for name, times in found.items()]
    print(table("A training step of the tutorial's network, batch 32, T = 8", ["watched by", "ms", "over plain"], rows))
    return int(any(median(found[name]) > limit * base for name, limit in ALLOWED.items()))


def _mean(step: Call) -> float:
    """Return the mean seconds of training steps in a row."""
    return mean([seconds(step) for _ in range(STEPS)][2:])
