"""Costs of online rules beside those of back-propagation through time: ``python -m benchmarks.online_costs``.

Processor time of a step as a multiple of a forward step, and the most memory of tensors; then the steps from which on a
rule takes less memory than back-propagation through time does.
"""

import bisect
import gc
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor, nn

import spikingtorch as st
from benchmarks.online_rules import DETACHED, stack
from benchmarks.report import table
from benchmarks.subject import in_turns
from examples.memory import peak
from spikingtorch import learning
from spikingtorch.learning.online_learner import Rule

RULES: tuple[Rule, ...] = ("last_step", "presynaptic", "diagonal", "exact")
SIZES = (64, 512)
EXACT_UP_TO = 64
STEPS, ROUNDS, OUTPUTS = 20, 9, 10


class Cost(NamedTuple):
    """Time of a step as a multiple of a forward step in mode "auto", and the most memory of tensors, in MB."""

    time: float
    memory: float


def network(size: int, *, readout: bool = True) -> st.SpikingNet:
    """Return two layers of LIF, of which the second one is the output or goes to a readout."""
    torch.manual_seed(0)
    layers = stack([size, size, size if readout else OUTPUTS], lambda: st.LIF(tau=4.0, reset=DETACHED))
    return st.SpikingNet(layers.extend([nn.Linear(size, OUTPUTS)] * readout), warn_silent=False)


def data(size: int, samples: int, steps: int) -> Tensor:
    """Return spikes, samples first."""
    return (torch.rand(samples, steps, size) < 0.3).float()


def forward(model: st.SpikingNet, x: Tensor) -> None:
    """Run a stream step by step, without gradients."""
    with torch.no_grad():
        for t in range(x.shape[1]):
            model(x[:, t : t + 1], init=t == 0)


def by_rule(learner: learning.OnlineLearner, x: Tensor) -> None:
    """Add the gradients of a rule, with a loss at each step."""
    for t in range(x.shape[1]):
        learner.backward(learner.step(x[:, t], init=t == 0).square().mean())


def by_bptt(model: st.SpikingNet, x: Tensor) -> None:
    """Add the gradients of back-propagation through time, with the same losses."""
    torch.as_tensor(model(x)).square().mean((0, 2)).sum().backward()


def times_of(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the medians of the processor time of some ways that take turns, as multiples of the first one's."""
    times = in_turns(ways, ROUNDS, clock=time.process_time)
    base = next(iter(times.values()))
    return {name: median(a / b for a, b in zip(each, base, strict=True)) for name, each in times.items()}


def used(model: st.SpikingNet, way: Callable[[], object]) -> float:
    """Return the most memory of tensors, in MB."""
    model.zero_grad()
    gc.collect()  # what an earlier call has left would be freed meanwhile, and taken off
    return peak(way)


def ways_of(size: int) -> tuple[st.SpikingNet, dict[str, Callable[[], object]]]:
    """Return a network, and a step of one sample in each way; a rule learns the outputs of the second layer."""
    model, x = network(size, readout=False), data(size, 1, STEPS)
    stepping = network(size, readout=False)
    stepping.mode = "step"
    ways: dict[str, Callable[[], object]] = {
        "forward": lambda: forward(model, x),
        'forward, mode="step"': lambda: forward(stepping, x),
        "BPTT": lambda: by_bptt(model, x),
    }
    for rule in RULES:
        if rule != "exact" or size <= EXACT_UP_TO:
            ways[rule] = partial(by_rule, learning.online(model, rule), x)
    return model, ways


def costs(size: int) -> dict[str, Cost]:
    """Return what a step of one sample costs, for each rule and for back-propagation through time."""
    model, ways = ways_of(size)
    times = times_of(ways)
    return {name: Cost(times[name], used(model, way)) for name, way in ways.items()}


def crossover(rule: Rule, size: int = 256, samples: int = 16, most: int = 1024) -> int:
    """Return the number of steps from which on a rule takes less memory than back-propagation through time.

    It looks from one step to ``most``, by halves.
    """
    model = network(size)

    def memory(way: Callable[[Tensor], None], steps: int) -> float:
        x = data(size, samples, steps)
        way(x)  # kernels are compiled
        return used(model, lambda: way(x))

    of_rule = memory(lambda x: by_rule(learning.online(model, rule), x), 6)
    lengths = range(1, most)
    return 1 + bisect.bisect(lengths, of_rule, key=lambda steps: memory(lambda x: by_bptt(model, x), steps))


def main() -> None:
    """Print both tables in Markdown."""
    torch.set_num_threads(1)
    found = {size: costs(size) for size in SIZES}
    shown = [{name: f"{one.time:.1f}, {one.memory:.2f}" for name, one in each.items()} for each in found.values()]
    header = ["", *(f"{size}-{size}-{OUTPUTS}: time, MB" for size in SIZES)]
    print(table("Costs of a step", header, [[name, *(each.get(name, "") for each in shown)] for name in shown[0]]))
    for rule in RULES[:3]:
        print(f"{rule}: less memory than BPTT from T = {crossover(rule)} on, at N = 256")


if __name__ == "__main__":
    main()
