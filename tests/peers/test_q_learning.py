"""Deep Q-networks of spiking neurons: the same losses, gradients and weights after updates with a target network.

The value of an action is read from the membrane of a neuron that does not spike: the last one, as SpikingJelly's
example does, or the largest over time, as those of Norse do. One update moves the value of the action that was taken
towards r + gamma max Q'(next state), Q' being the target network, which becomes the other one now and then.

V. Mnih et al., "Human-level control through deep reinforcement learning", Nature 518, 2015, doi:10.1038/nature14236.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import norse.torch as norse
import pytest
import torch
from spikingjelly.activation_based import functional, neuron, surrogate
from torch import Tensor, nn
from torch.nn import functional as F

from spikingtorch import LI, SpikingNet, like
from tests.peers.compared import TOLERANCES

T, N, OBSERVED, HIDDEN, ACTIONS = 10, 16, 4, 24, 3
UPDATES, EVERY, GAMMA = 8, 3, 0.9
TAU = 2.0
pytestmark = pytest.mark.usefixtures("in_float64")


class Jelly(nn.Module):
    """A hidden layer of SpikingJelly and a leaky integrator, whose membrane after the last step is the value."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(OBSERVED, HIDDEN), nn.Linear(HIDDEN, ACTIONS)
        self.node = neuron.LIFNode(tau=TAU, surrogate_function=surrogate.ATan(), step_mode="m")
        self.readout = neuron.NonSpikingLIFNode(tau=TAU, decode="last_mem")

    def forward(self, observed: Tensor) -> Tensor:
        functional.reset_net(self)
        values: Tensor = self.readout(self.fc2(self.node(self.fc1(observed.expand(T, -1, -1)))))
        return values


class JellyHere(nn.Module):
    """One step of it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(OBSERVED, HIDDEN), nn.Linear(HIDDEN, ACTIONS)
        self.node = like.spikingjelly.LIFNode(tau=TAU, surrogate_function=like.spikingjelly.ATan())
        self.readout = LI(decay=1.0 - 1.0 / TAU)

    def forward(self, x: Tensor, init: Any) -> Tensor:
        v: Tensor = self.readout(self.fc2(self.node(self.fc1(x), init)) / TAU, init)
        return v


class Cells(nn.Module):
    """A hidden layer of Norse and a leaky integrator, whose largest voltage is the value."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(OBSERVED, HIDDEN), nn.Linear(HIDDEN, ACTIONS)
        inverse: Any = {"tau_syn_inv": torch.tensor(200.0), "tau_mem_inv": torch.tensor(100.0)}  # default, in float64
        self.cell, self.readout = (
            norse.LIFCell(norse.LIFParameters(**inverse)),
            norse.LICell(norse.LIParameters(**inverse)),
        )

    def forward(self, observed: Tensor) -> Tensor:
        state: Any = None
        voltage: Any = None
        voltages = []
        for _ in range(T):
            spikes, state = self.cell(self.fc1(observed), state)
            v, voltage = self.readout(self.fc2(spikes), voltage)
            voltages.append(v)
        return torch.stack(voltages).amax(0)


class CellsHere(nn.Module):
    """One step of it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(OBSERVED, HIDDEN), nn.Linear(HIDDEN, ACTIONS)
        self.cell, self.readout = like.norse.LIFCell(), like.norse.LICell()

    def forward(self, x: Tensor, init: Any) -> Tensor:
        v: Tensor = self.readout(self.fc2(self.cell(self.fc1(x), init)), init)
        return v


class Values(nn.Module):
    """Values (N, ACTIONS) of observations (N, OBSERVED), by a network of ours that sees them for T steps."""

    def __init__(self, net: nn.Module, read: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.read = SpikingNet(net, batch_first=False), read

    def forward(self, observed: Tensor) -> Tensor:
        return self.read(self.model(observed.expand(T, -1, -1)))


class Seen(NamedTuple):
    """What an update was: its loss, and the gradients and weights that came of it."""

    loss: Tensor
    gradients: dict[str, Tensor]
    weights: dict[str, Tensor]


def learned(policy: nn.Module, target: nn.Module) -> list[Seen]:
    """Return some updates of a network by random transitions, the same at each call."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.01)
    seen = []
    for k in range(UPDATES):
        before, after = 2.0 * torch.rand(2, N, OBSERVED, generator=generator)
        actions = torch.randint(ACTIONS, (N, 1), generator=generator)
        reward, goes_on = torch.rand(2, N, generator=generator)
        with torch.no_grad():
            wanted = reward + GAMMA * (goes_on > 0.2) * target(after).amax(1)
        loss = F.smooth_l1_loss(policy(before).gather(1, actions).squeeze(1), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        gradients: Any = {name: each.grad.clone() for name, each in policy.named_parameters() if each.grad is not None}
        weights = {name: each.detach().clone() for name, each in policy.named_parameters()}
        seen.append(Seen(loss.detach(), gradients, weights))
        if k % EVERY == EVERY - 1:
            target.load_state_dict(policy.state_dict())
    return seen


AGENTS: dict[str, tuple[type[nn.Module], type[nn.Module], Callable[[Tensor], Tensor]]] = {
    "the last membrane, as in SpikingJelly": (Jelly, JellyHere, lambda v: v[-1]),
    "the largest membrane, as in Norse": (Cells, CellsHere, lambda v: v.amax(0)),
}


@pytest.mark.parametrize("agent", AGENTS)
def test_updates_with_a_target_network(agent: str) -> None:
    peer, here, read = AGENTS[agent]
    theirs = [peer(), peer()]
    with torch.no_grad():
        for weight in [weight for each in theirs for weight in each.parameters()]:
            weight.mul_(4.0).add_(0.2)  # so that the hidden neurons fire
    ours = [Values(here(), read) for _ in theirs]
    for values, other in zip(ours, theirs, strict=True):
        net = values.model.net
        net.load_state_dict({**dict(net.named_buffers()), **other.state_dict()})
    wanted, found = learned(*theirs), learned(*ours)
    assert all(each.model.explain().mode == "fold" for each in ours)
    limit = TOLERANCES[torch.float64][1]
    for own, peers in zip(found, wanted, strict=True):
        torch.testing.assert_close(own.loss, peers.loss, rtol=limit, atol=0.0)
        for got, want in ((own.gradients, peers.gradients), (own.weights, peers.weights)):
            for name, each in want.items():
                largest = float(each.abs().max())
                assert largest > 0.0, name
                torch.testing.assert_close(got[f"model.net.{name}"], each, rtol=0.0, atol=limit * largest)
    changed = [(wanted[0].weights[name] - each).abs().max() for name, each in wanted[-1].weights.items()]
    assert float(min(changed)) > 0.01
