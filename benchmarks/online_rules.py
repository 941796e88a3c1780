"""How far the gradients of online rules are from back-propagation through time: ``python -m benchmarks.online_rules``.

Relative error and cosine over all trained weights of the layers with a state, in float64, over a window of steps.
"""

import argparse
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

import spikingtorch as st
from benchmarks.report import table
from spikingtorch import functional as F
from spikingtorch import learning
from spikingtorch.functional.surrogate import Sigmoid
from spikingtorch.learning.online_learner import Rule

RULES: tuple[Rule, ...] = ("exact", "diagonal", "presynaptic", "last_step")
DEPTHS = (1, 2, 3)
N, STEPS, INPUTS, HIDDEN, OUTPUTS, SEEDS = 4, 25, 8, 12, 4, 3
SLOPES = (5.0, 25.0)  # of the surrogate, at the threshold: beta of Sigmoid(beta)
DETACHED_TO_ZERO, DETACHED = F.detached(F.to_zero), F.detached(F.by_subtraction)
NEURONS: dict[str, Callable[[Sigmoid], nn.Module]] = {
    "LIF, to zero": lambda slope: st.LIF(tau=4.0, surrogate=slope),
    "LIF, detached to zero": lambda slope: st.LIF(tau=4.0, surrogate=slope, reset=DETACHED_TO_ZERO),
    "LIF, by subtraction": lambda slope: st.LIF(tau=4.0, surrogate=slope, reset=F.by_subtraction),
    "LIF, detached subtraction": lambda slope: st.LIF(tau=4.0, surrogate=slope, reset=DETACHED),
    "ALIF, by subtraction": lambda slope: st.ALIF(tau=4.0, tau_adaptation=16.0, surrogate=slope),
    "recurrent LIF, to zero": lambda slope: st.LIF(
        tau=4.0, surrogate=slope, recurrent=nn.Linear(HIDDEN, HIDDEN, bias=False)
    ),
}


class Cell(NamedTuple):
    """One cell of the table.

    Attributes:
        error: the norm of the difference to back-propagation through time, divided by the norm of its gradient.
        cosine: the cosine of the angle between both gradients.
        last: the error of the last layer with a state alone.
        rate: spikes for each neuron and step, in the layer that fires least.
        norm: the norm of the true gradient.
    """

    error: float
    cosine: float
    last: float
    rate: float
    norm: float


def strong(ins: int, outs: int) -> nn.Linear:
    """Return weights so large that the neurons behind them fire."""
    linear = nn.Linear(ins, outs)
    with torch.no_grad():
        linear.weight.mul_(3.0)
        linear.bias.add_(0.2)
    return linear


def stack(sizes: Iterable[int], neuron: Callable[[], nn.Module]) -> nn.Sequential:
    """Return layers of neurons behind weights from each size to the next one."""
    return nn.Sequential(*[each for pair in pairwise(sizes) for each in (strong(*pair), neuron())])


def network(neuron: Callable[[Sigmoid], nn.Module], depth: int, seed: int, slope: float) -> st.SpikingNet:
    """Return layers of neurons, and a linear readout of the last one's spikes."""
    torch.manual_seed(seed)
    layers = stack([INPUTS, *[HIDDEN] * depth], lambda: neuron(Sigmoid(beta=slope)))
    return st.SpikingNet(layers.append(nn.Linear(HIDDEN, OUTPUTS)), mode="step").double()


def cell(rule: Rule, neuron: str, depth: int, slope: float = SLOPES[0], seed: int = 0, steps: int = STEPS) -> Cell:
    """Return how far a rule is from back-propagation through time, summed over a window of steps."""
    model = network(NEURONS[neuron], depth, seed, slope)
    numbers = torch.Generator().manual_seed(seed)
    x = (torch.rand(N, steps, INPUTS, generator=numbers) < 0.3).double()
    y = torch.randn(N, steps, OUTPUTS, generator=numbers).double()
    (model(x) - y).square().sum().backward()
    true = taken(model)
    approximate = rule == "presynaptic" and neuron != "LIF, detached subtraction"
    learner = learning.online(model, rule, approximate=approximate)
    for t in range(steps):
        learner.backward((learner.step(x[:, t]) - y[:, t]).square().sum())
    found = taken(model)
    names = [name for name in true if not name.startswith(f"net.{2 * depth}.")]
    last = [name for name in names if name.startswith((f"net.{2 * depth - 2}.", f"net.{2 * depth - 1}."))]
    a, b = (torch.cat([each[name].flatten() for name in names]) for each in (found, true))
    c, d = (torch.cat([each[name].flatten() for name in last]) for each in (found, true))
    error, cosine = float((a - b).norm() / b.norm()), float(a @ b / (a.norm() * b.norm()))
    return Cell(error, cosine, float((c - d).norm() / d.norm()), lowest_rate(model, x), float(b.norm()))


def taken(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of the gradients of a network, and forget them."""
    found = {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
    model.zero_grad()
    return found


def lowest_rate(model: st.SpikingNet, x: Tensor) -> float:
    """Return the spikes for each neuron and step, in the layer that fires least."""
    rates: list[float] = []
    layers = [each for each in model.modules() if isinstance(each, (st.LIF, st.ALIF))]
    hooks = [each.register_forward_hook(lambda *call: rates.append(float(call[2].mean()))) for each in layers]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return min(sum(rates[at :: len(layers)]) / len(rates[at :: len(layers)]) for at in range(len(layers)))


def mean(rule: Rule, neuron: str, depth: int, slope: float, seeds: int = SEEDS, steps: int = STEPS) -> Cell:
    """Return the mean of some networks; rates and norms are the lowest ones."""
    cells = [cell(rule, neuron, depth, slope, seed, steps) for seed in range(seeds)]
    error, cosine, last, _, _ = (sum(each) / seeds for each in zip(*cells, strict=True))
    return Cell(error, cosine, last, min(each.rate for each in cells), min(each.norm for each in cells))


def shown(found: Cell) -> str:
    """Return the error and the cosine as the table has them."""
    return "exact" if found.error < 1e-12 else f"{found.error:.2f}, {found.cosine:.2f}"


def row(neuron: str, depth: int, steps: int, seeds: int) -> list[str]:
    """Return a row of the table: the mean error and cosine over some networks, for each slope.

    "exact" has one column, of one network: the worse one of both slopes.
    """
    exact = max((cell("exact", neuron, depth, slope, 0, steps) for slope in SLOPES), key=lambda each: each.error)
    others = [mean(rule, neuron, depth, slope, seeds, steps) for rule in RULES[1:] for slope in SLOPES]
    return [neuron, str(depth), *map(shown, [exact, *others])]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    given = parser.parse_args()
    header = ["neuron, reset", "layers", "exact", *(f"{rule}, {slope:g}" for rule in RULES[1:] for slope in SLOPES)]
    rows = [row(neuron, depth, given.steps, given.seeds) for neuron in NEURONS for depth in DEPTHS]
    print(table("Relative error, cosine", header, rows))
