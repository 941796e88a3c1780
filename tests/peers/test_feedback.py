"""Feedback: the spikes of a later layer come back to an earlier one in the next step."""

from typing import Any

import pytest
import torch
from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor, nn
from torch.nn.utils import parametrize

from spikingtorch import SpikingNet, like
from tests.peers.compared import compare, same_gradients, same_pass

T, N, INPUTS, FIRST, SECOND = 20, 4, 6, 12, 8
pytestmark = pytest.mark.usefixtures("in_float64")


class Theirs(nn.Module):
    """Two layers in a loop over time; the second one feeds back to the first."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.back = nn.Linear(INPUTS, FIRST), nn.Linear(FIRST, SECOND), nn.Linear(SECOND, FIRST)
        self.lif1, self.lif2 = (neuron.LIFNode(surrogate_function=surrogate.ATan()) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        before, spikes = x.new_zeros(x.shape[1], SECOND), []
        for current in x:
            before = self.lif2(self.fc2(self.lif1(self.fc1(current) + self.back(before))))
            spikes.append(before)
        return torch.stack(spikes)


class Ours(nn.Module):
    """The same in one step, which reads the spikes of the step before."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.back = nn.Linear(INPUTS, FIRST), nn.Linear(FIRST, SECOND), nn.Linear(SECOND, FIRST)
        node = like.spikingjelly.LIFNode
        self.lif1, self.lif2 = (node(surrogate_function=like.spikingjelly.ATan()) for _ in range(2))

    def forward(self, x: Tensor, init: Any) -> Tensor:
        before = x.new_zeros(len(x), SECOND) if init else self.lif2.s
        s1 = self.lif1(self.fc1(x) + self.back(before), init)
        s2: Tensor = self.lif2(self.fc2(s1), init)
        return s2


def excited(net: nn.Module) -> nn.Module:
    """Return a network whose layers fire."""
    with torch.no_grad():
        for weight in net.parameters():
            weight.uniform_(-0.5, 1.0)
    return net


def test_feedback_within_a_step_runs_step_by_step() -> None:
    ours = SpikingNet(Ours(), batch_first=False)
    x = torch.rand(T, N, INPUTS)
    compare(excited(Theirs()), ours, x, mode="step")
    assert str(ours.explain()).startswith("step: the network branches on init")
    with pytest.raises(ValueError, match=r"mode='fold' cannot run Ours because it branches on init"):
        SpikingNet(Ours(), batch_first=False, mode="fold")(x)


class Populations(nn.Module):
    """Two populations in a loop over time, each of which gets the spikes of the other one a step later."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = nn.Linear(INPUTS, FIRST + SECOND)
        self.there, self.back = nn.Linear(FIRST, SECOND, bias=False), nn.Linear(SECOND, FIRST, bias=False)
        self.lif1, self.lif2 = (neuron.LIFNode(surrogate_function=surrogate.ATan()) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        s1, s2 = x.new_zeros(x.shape[1], FIRST), x.new_zeros(x.shape[1], SECOND)
        spikes = []
        for currents in self.inputs(x):
            current1, current2 = currents.split((FIRST, SECOND), 1)
            s1, s2 = self.lif1(current1 + self.back(s2)), self.lif2(current2 + self.there(s1))
            spikes.append(torch.cat([s1, s2], 1))
        return torch.stack(spikes)


class BetweenPopulations(nn.Module):
    """Weights (M, M) without those inside a population."""

    def forward(self, weight: Tensor) -> Tensor:
        inside = torch.block_diag(torch.ones(FIRST, FIRST), torch.ones(SECOND, SECOND))
        between: Tensor = weight * (1.0 - inside)
        return between


def test_feedback_of_the_step_before_is_recurrent_and_folds() -> None:
    theirs = Populations()
    with torch.no_grad():
        for weight in excited(theirs).parameters():
            weight.sub_(0.2)
    M = FIRST + SECOND
    recurrent = nn.Linear(M, M, bias=False)
    parametrize.register_parametrization(recurrent, "weight", BetweenPopulations())
    node = like.spikingjelly.LIFNode(surrogate_function=like.spikingjelly.ATan(), recurrent=recurrent)
    inputs = nn.Linear(INPUTS, M)
    ours = SpikingNet(nn.Sequential(inputs, node), batch_first=False)
    inputs.load_state_dict(theirs.inputs.state_dict())
    own = recurrent.get_parameter("parametrizations.weight.original")
    with torch.no_grad():
        own[FIRST:, :FIRST], own[:FIRST, FIRST:] = theirs.there.weight, theirs.back.weight
    same_pass(ours, theirs, torch.rand(T, N, INPUTS))
    assert ours.explain().mode == "fold"
    same_gradients(dict(inputs.named_parameters()), dict(theirs.inputs.named_parameters()))
    grad: Any = own.grad
    torch.testing.assert_close(grad[FIRST:, :FIRST], theirs.there.weight.grad, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(grad[:FIRST, FIRST:], theirs.back.weight.grad, rtol=1e-9, atol=1e-12)
