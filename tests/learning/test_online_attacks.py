"""Networks for which online rules were wrong, or said nothing: now exact, or refused in words."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import spikingtorch as st
from spikingtorch import learning
from spikingtorch.learning.online_learner import Rule
from tests.learning.online_nets import NEURONS, by_bptt, data, errors, gradients, loss_of, network, online_gradients

EXACT = 1e-12


def louder(net: nn.Module) -> st.SpikingNet:
    """Return a network that fires."""
    with torch.no_grad():
        for each in net.modules():
            if isinstance(each, nn.Linear):
                each.weight.mul_(3.0)
    return st.SpikingNet(net, mode="step", warn_silent=False).double()


def chain(*between: nn.Module, linear: Callable[..., nn.Module] = nn.Linear) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(linear(4, 5), *between, st.LIF(tau=4.0), nn.Linear(5, 3))


class Masked(nn.Linear):
    """A linear layer with another product."""

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input, self.weight * (self.weight > 0), self.bias)


class Doubled(nn.Module):
    """Writes on the product."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(2.0)


def hooked() -> nn.Module:
    net = chain()

    def doubled(_module: nn.Module, _args: Any, out: Any) -> Any:
        return 2.0 * out

    net[0].register_forward_hook(doubled)
    return net


OTHER_PRODUCTS: dict[str, Callable[[], nn.Module]] = {
    "relu in place": lambda: chain(nn.ReLU(inplace=True)),
    "written on": lambda: chain(Doubled()),
    "masked": lambda: chain(linear=Masked),
    "hooked": hooked,
}


@pytest.mark.parametrize("name", OTHER_PRODUCTS)
def test_what_is_no_product_of_torch_has_no_trace(name: str) -> None:
    model, (x, y) = louder(OTHER_PRODUCTS[name]()), data()
    rules: tuple[Rule, ...] = ("diagonal", "presynaptic")
    for rule in rules:
        with pytest.raises(ValueError, match=r"0.weight, 0.bias reach layer \d \(LIF\) in another way"):
            learning.online(model, rule).step(x[:, 0])
    true = by_bptt(model, x, y)
    assert max(errors(online_gradients(learning.online(model, "exact"), x, y), true).values()) < EXACT


def test_a_hook_that_only_looks_changes_nothing() -> None:
    net, (x, y) = chain(), data()
    net[0].register_forward_hook(lambda _module, _args, _out: None)
    model = louder(net)
    true = by_bptt(model, x, y)
    assert max(errors(online_gradients(learning.online(model), x, y), true).values()) < EXACT


@pytest.mark.parametrize("rule", ["exact", "diagonal"])
def test_weights_that_are_unfrozen_or_replaced_between_sequences_learn(rule: Rule) -> None:
    model, (x, y) = network(NEURONS["LIF"]), data()
    net: Any = model.net
    net[0].requires_grad_(False)
    learner = learning.online(model, rule)
    online_gradients(learner, x, y)
    net[0].requires_grad_(True)
    with pytest.raises(ValueError, match=r"frozen or unfrozen within a sequence.*init=True"):
        learner.step(x[:, 0])
    learner.reset()
    assert max(errors(online_gradients(learner, x, y), by_bptt(model, x, y)).values()) < EXACT
    net[0] = nn.Linear(4, 5).double()
    learner.reset()
    assert max(errors(online_gradients(learner, x, y), by_bptt(model, x, y)).values()) < EXACT
    model.net = network(NEURONS["ALIF"], 2).net
    learner.reset()
    found = errors(online_gradients(learner, x, y), by_bptt(model, x, y))
    assert found["net.2.weight"] < EXACT


@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, parametrizations.orthogonal])
def test_computed_weights_that_change_within_a_sequence_are_refused(wrap: Any) -> None:
    net, (x, y) = chain(), data()
    model = louder(nn.Sequential(wrap(net[0]), net[1], net[2]))
    learner = learning.online(model, "diagonal")
    true = by_bptt(model, x, y)
    with torch.no_grad():
        learner.step(x[:, 0])
    learner.reset()
    for t in range(x.shape[1]):
        loss = loss_of(learner.step(x[:, t]), y[:, t])
        with torch.no_grad():
            learner.backward(loss)
    assert max(errors(gradients(model), true).values()) < EXACT
    with torch.no_grad():
        next(model.parameters()).mul_(1.1)
    with pytest.raises(ValueError, match=r"leads to layer 1 \(LIF\) is computed from others.*earlier values"):
        learner.step(x[:, 0])


def test_exact_repeats_the_numbers_of_the_networks_own_generator() -> None:
    torch.manual_seed(0)
    numbers, (x, y) = torch.Generator(), data()
    neurons = st.StochasticLIF(tau=4.0, generator=numbers)
    model = louder(nn.Sequential(nn.Linear(4, 5), neurons, nn.Linear(5, 3)))
    numbers.manual_seed(3)
    true = by_bptt(model, x, y)
    numbers.manual_seed(3)
    assert max(errors(online_gradients(learning.online(model, "exact"), x, y), true).values()) < EXACT


class TopDown(nn.Module):
    """Reads what a layer remembers of the step before."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.w, self.back, self.n, self.r = nn.Linear(4, 5), nn.Linear(5, 5), st.LIF(tau=4.0), nn.Linear(5, 3)
        self.name = name

    def forward(self, x: Tensor, init: Any) -> Tensor:
        z, before = self.w(x), getattr(self.n, self.name)
        before = getattr(before, "v", before)
        s: Tensor = self.n(z if before is None or init is True else z + self.back(before), init)
        out: Tensor = self.r(s)
        return out


@pytest.mark.parametrize("name", ["s", "v", "state"])
def test_a_network_that_reads_a_layer_within_a_step_is_refused_or_exact(name: str) -> None:
    torch.manual_seed(0)
    model, (x, y) = louder(TopDown(name)), data()
    rules: tuple[Rule, ...] = ("diagonal", "last_step", "exact")
    for rule in rules if name == "s" else rules[:2]:
        with pytest.raises(ValueError, match=rf"asks a LIF for its .{name} within a step.*would be lost"):
            online_gradients(learning.online(model, rule), x, y)
    if name != "s":
        true = by_bptt(model, x, y)
        assert max(errors(online_gradients(learning.online(model, "exact"), x, y), true).values()) < EXACT


class Shares(nn.Module):
    """Numbers that share a sum."""

    def forward(self, raw: Tensor) -> Tensor:
        return 20.0 * raw.softmax(-1)


def test_parameters_of_neurons_that_mix_are_refused() -> None:
    model, (x, _) = network(NEURONS["LIF, each its tau"]), data()
    nn.utils.parametrize.register_parametrization(model.net[1], "tau", Shares(), unsafe=True)  # type: ignore[index]
    with pytest.raises(ValueError, match=r"each neuron of layer 1 \(.*LIF\) depends on all entries of .*tau.original"):
        learning.online(model, "diagonal").step(x[:, 0])


class Branches(nn.Module):
    """Two layers that share a product."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.a, self.b, self.r = nn.Linear(4, 5), st.LIF(tau=4.0), st.ALIF(tau=3.0), nn.Linear(5, 3)

    def forward(self, x: Tensor, init: Any) -> Tensor:
        z = self.w(x)
        out: Tensor = self.r(self.a(z, init) + self.b(z, init))
        return out


@pytest.mark.parametrize("rule", ["exact", "diagonal"])
def test_two_layers_behind_one_product(rule: Rule) -> None:
    torch.manual_seed(0)
    model, (x, y) = louder(Branches()), data()
    true = by_bptt(model, x, y)
    assert max(errors(online_gradients(learning.online(model, rule), x, y), true).values()) < EXACT


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_exact_takes_layers_without_a_state_and_computed_weights() -> None:
    x, y = data()
    without = st.SpikingNet(
        nn.Sequential(nn.Linear(4, 5), st.McPitts(threshold=0.5), nn.Linear(5, 3)), warn_silent=False
    ).double()
    true = by_bptt(without, x, y)
    assert max(errors(online_gradients(learning.online(without, "exact"), x, y), true).values()) < EXACT
    net = chain()
    model = louder(nn.Sequential(parametrizations.weight_norm(net[0]), net[1], net[2]))
    true = by_bptt(model, x, y)
    assert max(errors(online_gradients(learning.online(model, "exact"), x, y), true).values()) < EXACT
    hooked = network(NEURONS["LIF"])
    next(hooked.parameters()).register_post_accumulate_grad_hook(lambda _: None)
    rules: tuple[Rule, ...] = ("exact", "diagonal")
    for rule in rules:
        with pytest.raises(ValueError, match=r"0.weight has a hook for when its gradient has accumulated"):
            learning.online(hooked, rule).step(x[:, 0])


def test_an_error_of_a_loss_leaves_no_gradient_behind() -> None:
    model, (x, y) = network(NEURONS["LIF"]), data()
    learner = learning.online(model)
    first, second = learner.step(x[:, 0]), learner.step(x[:, 1])
    with pytest.raises(RuntimeError, match="earlier step"):
        learner.backward((first + second).sum())
    model.zero_grad()
    learner.backward(loss_of(second, y[:, 1]))
    found = gradients(model)
    learner.reset()
    learner.step(x[:, 0])
    learner.backward(loss_of(learner.step(x[:, 1]), y[:, 1]))
    assert max(errors(gradients(model), found).values()) == 0.0


@pytest.mark.parametrize("rule", ["exact", "diagonal"])
def test_a_step_that_fails_changes_nothing(rule: Rule) -> None:
    model, (x, y) = network(NEURONS["LIF"]), data()
    true, learner = by_bptt(model, x, y), learning.online(model, rule)
    for t in range(x.shape[1]):
        learner.backward(loss_of(learner.step(x[:, t]), y[:, t]))
        for wrong, init in ((x[:, t] * float("nan"), None), (x[:, t], torch.ones(2, dtype=torch.bool))):
            with pytest.raises(ValueError, match=r"holds NaN|one for each sample"):
                learner.step(wrong, init)
        with pytest.raises(RuntimeError, match="before step"):
            learner.backward(torch.zeros((), requires_grad=True))
    assert max(errors(gradients(model), true).values()) < EXACT


def test_a_weight_that_is_overwritten_between_step_and_backward_is_an_error() -> None:
    model, (x, y) = network(NEURONS["LIF"], 2), data()
    learner = learning.online(model, "last_step")
    out = learner.step(x[:, 0])
    with torch.no_grad():
        model.net[2].weight.mul_(2.0)  # type: ignore[index]
    with pytest.raises(RuntimeError, match=r"overwritten between step\(\) and backward\(\)"):
        learner.backward(loss_of(out, y[:, 0]))
