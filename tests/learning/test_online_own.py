"""Online rules for networks with a forward of their own: local losses, shared weights, states that are tracked."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch import learning
from spikingtorch.layers.steplayer import StepLayer
from tests.learning.online_nets import by_bptt, data, errors, gradients, network, online_gradients

EXACT = 1e-12


class Local(nn.Module):
    """Two layers that hand detached spikes on, and a readout of each."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(3, 3)
        self.below, self.above = st.LIF(tau=4.0), st.ALIF(tau=4.0)
        with torch.no_grad():
            self.first.weight.mul_(4.0)
            self.second.weight.mul_(6.0)

    def forward(self, x: Tensor, init: bool) -> tuple[Tensor, Tensor]:
        s = self.below(self.first(x), init)
        return s, self.above(self.second(s.detach()), init)


def test_local_losses_are_exact_in_every_layer() -> None:
    torch.manual_seed(0)
    model, (x, y) = st.SpikingNet(Local()).double(), data()
    (first, second), target = model(x), y
    ((first - target).square().sum() + (second - target).square().sum()).backward()
    true, learner = gradients(model), learning.online(model, "diagonal")
    for t in range(x.shape[1]):
        for out in learner.step(x[:, t]):  # the losses of one step add up
            learner.backward((out - y[:, t]).square().sum())
    assert max(errors(gradients(model), true).values()) < EXACT
    assert all(each.exact for each in learner.explain().layers)


class Shared(Local):
    """One weight for two layers."""

    def __init__(self, *, calls: bool) -> None:
        super().__init__()
        self.start, self.calls = nn.Linear(4, 3), calls
        if not calls:
            self.first = nn.Linear(3, 3)
            self.first.weight = self.second.weight

    def forward(self, x: Tensor, init: bool) -> Any:
        s = self.below((self.second if self.calls else self.first)(self.start(x)), init)
        return self.above(self.second(s), init)


def test_a_weight_of_two_modules_gets_the_gradients_of_both_and_a_module_that_is_called_twice_is_refused() -> None:
    torch.manual_seed(0)
    (x, y), model = data(), st.SpikingNet(Shared(calls=False)).double()
    model.net.start.requires_grad_(False)
    model.net.below.reset = F.detached(F.to_zero)  # type: ignore[union-attr]
    true = by_bptt(model, x, y)
    assert max(errors(online_gradients(learning.online(model, "exact"), x, y), true).values()) < EXACT
    found = online_gradients(learning.online(model, "diagonal"), x[:, :1], y[:, :1])
    assert max(errors(found, by_bptt(model, x[:, :1], y[:, :1])).values()) < EXACT
    twice = st.SpikingNet(Shared(calls=True)).double()
    with pytest.raises(ValueError, match=r"second.weight, .* reach layer below \(LIF\) in another way"):
        learning.online(twice, "diagonal").step(x[:, 0])


def test_a_layer_that_sums_its_outputs_holds_no_graph() -> None:
    model, (x, y) = network(lambda: st.LIF(tau=4.0)), data()
    true = by_bptt(model, x, y)
    for each in model.modules():
        if isinstance(each, st.LIF):
            each.track_act = True
    learner = learning.online(model, "diagonal")
    assert max(errors(online_gradients(learner, x, y), true).values()) < EXACT


class OwnState(NamedTuple):
    """One membrane."""

    v: Tensor


def own_step(state: OwnState, x: Tensor, *, decay: Tensor | float) -> tuple[OwnState, Tensor]:
    u = decay * state.v + x.tanh()
    return OwnState(u * u.sigmoid()), u


def mixing_step(state: OwnState, x: Tensor, *, decay: Tensor | float) -> tuple[OwnState, Tensor]:
    return own_step(state, x.roll(1, -1), decay=decay)


def test_a_step_of_ones_own_has_traces_and_one_that_mixes_neurons_is_refused() -> None:
    def model(step: Any) -> st.SpikingNet:
        torch.manual_seed(0)
        neurons = StepLayer(step, OwnState, decay=0.8, learnable="decay")
        return st.SpikingNet(nn.Sequential(nn.Linear(4, 3), neurons, nn.Linear(3, 3)), mode="step").double()

    x, y = data()
    own, mixing = model(own_step), model(mixing_step)
    true = by_bptt(own, x, y)
    assert max(errors(online_gradients(learning.online(own, "diagonal"), x, y), true).values()) < EXACT
    with pytest.raises(ValueError, match=r"layer 1 \(StepLayer\) mixes neurons"):
        learning.online(mixing, "diagonal").step(x[:, 0])
    true = by_bptt(mixing, x, y)
    assert max(errors(online_gradients(learning.online(mixing, "exact"), x, y), true).values()) < EXACT
