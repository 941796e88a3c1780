"""One training step on a long sequence: its time on one core and the peak memory of its tensors, a process a way.

.venv/bin/python -m benchmarks.long_sequences                  six ways; three layers of 256 LIF, T = 4000, B = 16
.venv/bin/python -m benchmarks.long_sequences 100000           the one that fits a sequence of so many steps
.venv/bin/python -m benchmarks.long_sequences turns            recompute and one call in turns: the ratio of their times
.venv/bin/python -m benchmarks.long_sequences auto             the same ratio for chunks of an automatic size
"""

import copy
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from benchmarks.report import table
from benchmarks.subject import Call, in_turns
from examples.memory import peak
from spikingtorch import LIF, SpikingNet, run

T, K, N, HIDDEN = 4_000, 64, 16, 256
REPEATS = 5
SIZES = (36, 256, 2_048)


def network(**options: Any) -> SpikingNet:
    """Return three layers of spiking neurons, and four outputs."""
    sizes = (16, HIDDEN, HIDDEN, HIDDEN)
    layers = [(nn.Linear(one, other), LIF(tau=8.0, threshold=0.3)) for one, other in pairwise(sizes)]
    return SpikingNet(nn.Sequential(*[module for pair in layers for module in pair], nn.Linear(HIDDEN, 4)), **options)


def whole(**options: Any) -> tuple[SpikingNet, Callable[[Tensor], Tensor]]:
    """Return a network with options, and what sums its outputs over time."""
    model = network(**options)
    return model, lambda x: torch.as_tensor(model(x).sum(1))


def in_parts() -> tuple[SpikingNet, Callable[[Tensor], Tensor]]:
    """Return a network, and what sums its outputs over time, with a checkpoint for each part."""
    model = network()

    def part_of(state: dict[str, Tensor] | None, part: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        state, _, out = run(model, state, part)
        return state, out.sum(1)

    def act(x: Tensor) -> Tensor:
        state, total = None, x.new_zeros(())
        for part in x.split(K, 1):
            state, counts = checkpoint(part_of, state, part, use_reentrant=False)
            total = total + counts
        return total

    return model, act


def by_checkpoint() -> tuple[SpikingNet, Callable[[Tensor], Tensor]]:
    """Return a network, and what sums its outputs over time, all of it in one checkpoint."""
    model, act = whole()
    return model, lambda x: torch.as_tensor(checkpoint(act, x, use_reentrant=False))


WAYS: dict[str, Callable[[], tuple[SpikingNet, Callable[[Tensor], Tensor]]]] = {
    "one call": whole,
    "time_chunk": lambda: whole(time_chunk=K),
    "time_chunk and recompute": lambda: whole(time_chunk=K, recompute=True),
    "the same with time_chunk='auto'": lambda: whole(time_chunk="auto", recompute=True),
    "run and checkpoint of each part": in_parts,
    "checkpoint of the whole call": by_checkpoint,
}


def sequence(steps: int) -> Tensor:
    """Return spikes, on one thread."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return (torch.rand(N, steps, 16) < 0.3).float()


def step_of(model: SpikingNet, act: Callable[[Tensor], Tensor], x: Tensor) -> Call:
    """Return the gradient of a network anew."""

    def train() -> None:
        model.zero_grad()
        act(x).square().mean().backward()

    return train


def measure(way: str, steps: int) -> None:
    """Train some steps, and print the memory and the time that one takes."""
    x = sequence(steps)
    model, act = WAYS[way]()
    train = step_of(model, act, x)
    act(x[:, : 3 * K]).square().mean().backward()  # kernels are compiled
    times = in_turns({way: train}, REPEATS if steps == T else 1, 0, time.process_time)[way]
    norm = torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None]).norm()
    print(f"{way:32} {peak(train):5.0f} MB {min(times):7.2f} s   norm of the gradient {norm:.6e}")


def turns(first: str = "one call", second: str = "time_chunk and recompute") -> None:
    """Train with two ways in turns in one process, and print the median and the range of the ratio of their times."""
    x = sequence(T)
    ways = {way: step_of(*WAYS[way](), x) for way in (first, second)}
    found = in_turns(ways, 2 * REPEATS, clock=time.process_time)
    ratios = [b / a for a, b in zip(*found.values(), strict=True)]
    print(f"{second} / {first}: {median(ratios):.2f} times as long, {min(ratios):.2f} to {max(ratios):.2f}")


def auto(neurons: int, steps: int, recurrent: bool) -> float:
    """Return how many times as long a training step takes with recompute and automatic chunks as in one call."""
    x, weight = sequence(steps), nn.Linear(neurons, neurons, bias=False) if recurrent else None
    net = nn.Sequential(nn.Linear(16, neurons), LIF(tau=8.0, threshold=0.3, recurrent=weight), nn.Linear(neurons, 4))
    models = [SpikingNet(net), SpikingNet(copy.deepcopy(net), time_chunk="auto", recompute=True)]
    ways = {str(k): step_of(model, model, x) for k, model in enumerate(models)}
    one, other = in_turns(ways, REPEATS, 2, time.process_time).values()
    return median([b / a for a, b in zip(one, other, strict=True)])


def ratios() -> str:
    """Return the table of ratios for few and many neurons, without and with recurrent weights."""
    rows = []
    for steps in (100, 1_300, 10_000):
        cases = [(size, steps, recurrent) for size in SIZES for recurrent in (False, True)]
        cells = (f"{auto(*case):.2f}" if not case[2] or case[0] * steps < 3e6 else "" for case in cases)
        rows.append([str(steps), *cells])
    header = ["T", *(f"{size}{text}" for size in SIZES for text in ("", ", recurrent"))]
    return table("Times as long as in one call", header, rows)


if __name__ == "__main__":
    if sys.argv[1:] == ["turns"]:
        turns()
    elif sys.argv[1:] == ["auto"]:
        print(ratios())
    elif len(sys.argv) == 3:
        measure(sys.argv[1], int(sys.argv[2]))
    else:
        ways, length = (["the same with time_chunk='auto'"], sys.argv[1]) if len(sys.argv) == 2 else (WAYS, str(T))
        for each in ways:
            subprocess.run([sys.executable, "-m", "benchmarks.long_sequences", each, length], check=True)
