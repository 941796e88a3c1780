"""The cost of an online update beside a step of the network alone: ``python -m benchmarks.online_cost``.

Processor time of one sample. All take turns, so that another load on the machine slows all of them down.
"""

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from statistics import median

import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch import learning
from spikingtorch.learning.online_learner import Rule

SIZES, RATE, SAMPLES = (512, 512, 10), 0.3, 200


def network(sizes: tuple[int, ...] = SIZES) -> st.SpikingNet:
    """Return layers of LIF whose leak is a constant."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for size, after in pairwise(sizes):
        layers += [nn.Linear(size, after), st.LIF(tau=8.0, reset=F.detached(F.by_subtraction))]
        with torch.no_grad():
            layers[-2].weight.mul_(3.0)  # type: ignore[operator]
    return st.SpikingNet(nn.Sequential(*layers), warn_silent=False)


def forward(mode: str, x: Tensor, *, grad: bool = False) -> Callable[[], object]:
    """Return a step of a network without learning."""
    model = network()
    model.mode = mode  # type: ignore[assignment]
    model(x.unsqueeze(1))

    def run() -> None:
        with torch.set_grad_enabled(grad):
            model(x.unsqueeze(1), init=False)

    return run


def update(rule: Rule, x: Tensor) -> Callable[[], object]:
    """Return a step of a learner with its gradients, which are kept in ``.grad``."""
    learner = learning.online(network(), rule)

    def run() -> None:
        out = learner.step(x)
        learner.backward((out - 0.5).square().mean())

    return run


def medians(works: dict[str, Callable[[], object]], samples: int = SAMPLES) -> dict[str, float]:
    """Return the median of the microseconds of each work; they take turns."""
    for work in works.values():
        for _ in range(10):
            work()
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(samples):
        for name, work in works.items():
            start = time.process_time()
            work()
            taken[name].append(time.process_time() - start)
    return {name: median(each) * 1e6 for name, each in taken.items()}


def rows(samples: int = SAMPLES) -> Iterator[str]:
    """Yield the rows of a table in Markdown: microseconds, and ratios to a step without learning."""
    x = (torch.rand(1, SIZES[0], generator=torch.Generator().manual_seed(0)) < RATE).float()
    works: dict[str, Callable[[], object]] = {
        "a step": forward("auto", x),
        'a step, mode="step"': forward("step", x),
        "a step, gradients recorded": forward("auto", x, grad=True),
    }
    rules: tuple[Rule, ...] = ("last_step", "presynaptic", "diagonal")
    works |= {f'"{rule}"': update(rule, x) for rule in rules}
    found = medians(works, samples)
    yield '| step and update | microseconds | over a step | over mode="step" | over one that records gradients |'
    yield "|---|---|---|---|---|"
    for name, taken in found.items():
        ratios = [f"{taken / found[base]:.1f}" for base in [*works][:3]]
        yield f"| {name} | {taken:.0f} | " + " | ".join(ratios) + " |"


if __name__ == "__main__":
    torch.set_num_threads(1)
    for row in rows():
        print(row, flush=True)
