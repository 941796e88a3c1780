"""How far the gradients of online rules are from back-propagation through time: ``python -m benchmarks.online_rules``.

Relative error and cosine over all trained weights of the layers with a state, in float64, over a window of steps.
"""

import argparse
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch import learning
from spikingtorch.functional.surrogate import Sigmoid
from spikingtorch.learning.online_learner import Rule

RULES: tuple[Rule, ...] = ("exact", "diagonal", "presynaptic", "last_step")
DEPTHS = (1, 2, 3)
N, STEPS, INPUTS, HIDDEN, OUTPUTS, SEEDS = 4, 25, 8, 12, 4, 3
SLOPE = Sigmoid(beta=5.0)
NEURONS: dict[str, Callable[[], nn.Module]] = {
    "LIF, to zero": lambda: st.LIF(tau=4.0, surrogate=SLOPE),
    "LIF, detached to zero": lambda: st.LIF(tau=4.0, surrogate=SLOPE, reset=F.detached(F.to_zero)),
    "LIF, by subtraction": lambda: st.LIF(tau=4.0, surrogate=SLOPE, reset=F.by_subtraction),
    "LIF, detached subtraction": lambda: st.LIF(tau=4.0, surrogate=SLOPE, reset=F.detached(F.by_subtraction)),
    "ALIF, by subtraction": lambda: st.ALIF(tau=4.0, tau_adaptation=16.0, surrogate=SLOPE),
    "recurrent LIF, to zero": lambda: st.LIF(tau=4.0, surrogate=SLOPE, recurrent=nn.Linear(HIDDEN, HIDDEN, bias=False)),
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


def network(neuron: Callable[[], nn.Module], depth: int, seed: int) -> st.SpikingNet:
    """Return layers of neurons, and a linear readout of the last one's spikes."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for layer in range(depth):
        linear = nn.Linear(HIDDEN if layer else INPUTS, HIDDEN)
        with torch.no_grad():
            linear.weight.mul_(3.0)
            linear.bias.add_(0.2)
        layers += [linear, neuron()]
    return st.SpikingNet(nn.Sequential(*layers, nn.Linear(HIDDEN, OUTPUTS)), mode="step").double()


def cell(rule: Rule, neuron: str, depth: int, seed: int = 0, steps: int = STEPS) -> Cell:
    """Return how far a rule is from back-propagation through time, summed over a window of steps."""
    model = network(NEURONS[neuron], depth, seed)
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


def rows(steps: int = STEPS, seeds: int = SEEDS) -> Iterator[str]:
    """Yield the rows of the table in Markdown: the mean error and cosine over some networks.

    "exact" runs for one network, because it takes as long as all others together.
    """
    yield "| neuron, reset | layers | " + " | ".join(RULES) + " |"
    yield "|---|---" + "|---" * len(RULES) + "|"
    for neuron in NEURONS:
        for depth in DEPTHS:
            shown = []
            for rule in RULES:
                count = 1 if rule == "exact" else seeds
                cells = [cell(rule, neuron, depth, seed, steps) for seed in range(count)]
                error, cosine = (sum(each[at] for each in cells) / count for at in (0, 1))
                shown.append("exact" if error < 1e-12 else f"{error:.2f}, {cosine:.2f}")
            yield f"| {neuron} | {depth} | " + " | ".join(shown) + " |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    given = parser.parse_args()
    for row in rows(given.steps, given.seeds):
        print(row, flush=True)
