"""Networks for online rules, and the gradients of both ways."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import spikingtorch as st
from benchmarks.online_rules import stack, taken
from spikingtorch import functional as F
from spikingtorch import learning
from spikingtorch.learning import OnlineLearner

N, T, INPUTS, HIDDEN, OUTPUTS = 3, 17, 4, 5, 3
EXACT = 1e-12
gradients = taken
CONSTANT = F.detached(F.by_subtraction)
Neuron = Callable[[], nn.Module]

NEURONS: dict[str, Neuron] = {
    "LIF": lambda: st.LIF(tau=4.0),
    "LIF, detached subtraction": lambda: st.LIF(tau=4.0, reset=CONSTANT),
    "LIF, learnable": lambda: st.LIF(tau=4.0, learnable=True, reset=F.by_subtraction),
    "LIF, each its tau": lambda: st.LIF(tau=torch.linspace(2.0, 9.0, HIDDEN), learnable="tau"),
    "ALIF": lambda: st.ALIF(tau=4.0, tau_adaptation=9.0),
    "CubaLIF": lambda: st.CubaLIF(tau=4.0, tau_syn=3.0, reset=CONSTANT),
    "refractory": lambda: st.LIF(tau=4.0, refractory=2),
}
RECURRENT: dict[str, Neuron] = {
    "dense": lambda: st.LIF(tau=4.0, recurrent=nn.Linear(HIDDEN, HIDDEN, bias=False)),
    "to itself": lambda: st.LIF(tau=4.0, recurrent=torch.full((HIDDEN,), 0.4)),
}


def network(neuron: Neuron, depth: int = 1, readout: Neuron | None = None) -> st.SpikingNet:
    """Return a stack of layers that fire, and a linear readout."""
    torch.manual_seed(0)
    layers = stack([INPUTS, *[HIDDEN] * depth], neuron).append(nn.Linear(HIDDEN, OUTPUTS))
    return st.SpikingNet(layers.extend([] if readout is None else [readout()])).double()


def louder(net: nn.Module) -> st.SpikingNet:
    """Return a network that fires, over time."""
    with torch.no_grad():
        for each in net.modules():
            if isinstance(each, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
                each.weight.mul_(3.0)
    return st.SpikingNet(net, mode="step", warn_silent=False).double()


def data(*shape: int, steps: int = T) -> tuple[Tensor, Tensor]:
    """Return inputs, samples first, and weights of a loss."""
    numbers = torch.Generator().manual_seed(1)
    x = torch.rand(N, steps, *(shape or (INPUTS,)), dtype=torch.float64, generator=numbers)
    return x, torch.randn(N, steps, OUTPUTS, dtype=torch.float64, generator=numbers)


def loss_of(out: Tensor, y: Tensor) -> Tensor:
    """Return a loss that is a sum over steps."""
    return (out - y).square().sum()


def by_bptt(model: st.SpikingNet, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Return the gradients of back-propagation through time."""
    model.zero_grad()
    loss_of(model(x), y).backward()
    return gradients(model)


def online_gradients(learner: OnlineLearner, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Return the gradients that a learner sums over all steps."""
    learner.model.zero_grad()
    return run(learner, x, y)


def run(learner: OnlineLearner, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Return the gradients of some steps, from the state that a learner is in."""
    for t in range(x.shape[1]):
        learner.backward(loss_of(learner.step(x[:, t]), y[:, t]))
    return gradients(learner.model)


def errors(found: dict[str, Tensor], true: dict[str, Tensor]) -> dict[str, float]:
    """Return the relative error of each gradient; a true gradient of zero is an error of the test."""
    assert found.keys() == true.keys()
    for name, each in true.items():
        assert each.norm() > 1e-6, f"{name} has no gradient, so that nothing is compared"
    return {name: float((found[name] - each).norm() / each.norm()) for name, each in true.items()}


def assert_bptt(model: st.SpikingNet, rule: Any, x: Tensor, y: Tensor, **options: Any) -> OnlineLearner:
    """Assert that a rule gives the gradients of back-propagation through time, and return the learner."""
    true, learner = by_bptt(model, x, y), learning.online(model, rule, **options)
    assert max(errors(online_gradients(learner, x, y), true).values()) < EXACT
    return learner
