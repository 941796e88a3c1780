"""Online rules: their gradients beside those of back-propagation through time, in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import learning
from spikingtorch.learning.online_learner import Rule
from tests.learning.online_nets import (
    CONSTANT,
    HIDDEN,
    NEURONS,
    RECURRENT,
    by_bptt,
    data,
    errors,
    gradients,
    loss_of,
    network,
    online_gradients,
)

pytestmark = pytest.mark.sampled

EXACT = 1e-12


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("neuron", [*NEURONS, *RECURRENT])
def test_exact_is_bptt(neuron: str, depth: int) -> None:
    model, (x, y) = network((NEURONS | RECURRENT)[neuron], depth), data()
    true = by_bptt(model, x, y)
    assert max(errors(online_gradients(learning.online(model, "exact"), x, y), true).values()) < EXACT


@pytest.mark.parametrize("neuron", NEURONS)
def test_diagonal_is_bptt_for_one_layer_under_a_readout_without_memory(neuron: str) -> None:
    model, (x, y) = network(NEURONS[neuron]), data()
    true, learner = by_bptt(model, x, y), learning.online(model, "diagonal")
    assert max(errors(online_gradients(learner, x, y), true).values()) < EXACT
    assert all(each.exact for each in learner.explain().layers)


@pytest.mark.parametrize("depth", [2, 3])
def test_diagonal_is_bptt_for_the_last_layer_alone(depth: int) -> None:
    model, (x, y) = network(NEURONS["ALIF"], depth), data()
    found = errors(online_gradients(learning.online(model, "diagonal"), x, y), by_bptt(model, x, y))
    last = f"net.{2 * depth - 2}.weight"
    assert found[last] < EXACT
    assert found["net.0.weight"] > 0.05  # a whole window tells the rules apart


@pytest.mark.parametrize("neuron", ["LIF, detached subtraction", "CubaLIF"])
def test_presynaptic_is_diagonal_where_the_leak_is_constant(neuron: str) -> None:
    model, (x, y) = network(NEURONS[neuron], 2), data()
    found = [online_gradients(learning.online(model, rule), x, y) for rule in ("presynaptic", "diagonal")]
    assert max(errors(*found).values()) < EXACT


@pytest.mark.parametrize("neuron", ["LIF", "ALIF", "LIF, each its tau"])
def test_presynaptic_is_refused_for_other_leaks_unless_asked_for(neuron: str) -> None:
    model, (x, y) = network(NEURONS[neuron]), data()
    with pytest.raises(ValueError, match=r"leak of all neurons .* reset=detached.by_subtraction"):
        learning.online(model, "presynaptic").step(x[:, 0])
    learner = learning.online(model, "presynaptic", approximate=True)
    assert errors(online_gradients(learner, x, y), by_bptt(model, x, y))["net.0.weight"] > 0.01
    assert "the change of the leak with the state" in str(learner.explain())


def test_presynaptic_sees_that_a_time_constant_is_set_meanwhile() -> None:
    model, (x, y) = network(NEURONS["LIF, detached subtraction"]), data()
    found = []
    for rule in ("presynaptic", "diagonal"):
        learner = learning.online(model, rule)
        for t in range(x.shape[1]):
            model.net[1].tau = 4.0 if t < 8 else 9.0  # type: ignore[index]
            learner.backward(loss_of(learner.step(x[:, t]), y[:, t]))
        found.append(gradients(model))
    assert max(errors(*found).values()) < EXACT


def test_ottt_is_the_trace_of_inputs_times_the_gradient_of_the_step() -> None:
    """Written from the paper: the trace of the inputs a[t] = decay a[t-1] + x[t], times dL[t]/du[t]."""
    model, (x, y) = network(NEURONS["LIF, detached subtraction"]), data()
    decay, expected, trace = torch.exp(torch.tensor(-0.25, dtype=torch.float64)), 0.0, torch.zeros(1)
    learner = learning.online(model, "presynaptic")
    linear, lif, readout = list(model.net)  # type: ignore[call-overload]
    v: Tensor = torch.zeros(())
    for t in range(x.shape[1]):
        trace = decay * trace + x[:, t]
        z = linear(x[:, t]).detach().requires_grad_()
        state, params = type(lif.initial_state(z))(v + torch.zeros_like(z)), lif.step_params()
        (after,), s = lif.step(state, z, **params)
        v = after.detach()
        (signal,) = torch.autograd.grad(loss_of(readout(s), y[:, t]), z)
        expected = expected + signal.T @ trace
    found = online_gradients(learner, x, y)["net.0.weight"]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("neuron", ["LIF", "ALIF"])
def test_last_step_is_back_propagation_with_a_state_detached_at_each_step(neuron: str) -> None:
    model, (x, y) = network(NEURONS[neuron], 2), data()
    found = online_gradients(learning.online(model, "last_step"), x, y)
    for t in range(x.shape[1]):  # a call detaches the state
        loss_of(model(x[:, t : t + 1], init=t == 0), y[:, t : t + 1]).backward()
    assert max(errors(found, gradients(model)).values()) < EXACT


def test_diagonal_for_recurrent_weights_leaves_out_the_spikes_that_come_back() -> None:
    """As BPTT does if the recurrent spikes are detached: only the traces of the recurrent weights are left."""

    class Own(nn.Module):
        def __init__(self, model: st.SpikingNet) -> None:
            super().__init__()
            first, lif, readout = list(model.net)  # type: ignore[call-overload]
            self.first, self.recurrent, self.readout, self.neurons = first, lif.recurrent, readout, st.LIF(tau=4.0)
            self.s: Tensor = torch.zeros(())

        def forward(self, x: Tensor, init: bool) -> Tensor:
            z = self.first(x)
            z = z if init else z + self.recurrent(self.s)
            s: Tensor = self.neurons(z, init)
            self.s = s.detach()
            out: Tensor = self.readout(s)
            return out

    model, (x, y) = network(RECURRENT["dense"]), data()
    found = online_gradients(learning.online(model, "diagonal"), x, y)
    true = by_bptt(st.SpikingNet(Own(model), mode="step"), x, y)
    pairs = {"net.0.weight": "net.first.weight", "net.0.bias": "net.first.bias"}
    pairs |= {"net.1.recurrent.weight": "net.recurrent.weight", "net.2.weight": "net.readout.weight"}
    assert max(errors({b: found[a] for a, b in pairs.items()}, {b: true[b] for b in pairs.values()}).values()) < EXACT


@pytest.mark.parametrize("rule", ["exact", "diagonal"])
def test_a_window_in_which_weights_change(rule: Rule) -> None:
    model, (x, y) = network(NEURONS["LIF, learnable"]), data()
    weights = {name: each for name, each in model.named_parameters() if not name.startswith("net.2")}
    moves = [{name: torch.rand_like(each) * 0.1 for name, each in weights.items()} for _ in range(x.shape[1])]
    state, losses = None, []
    start = {name: each.detach().clone().requires_grad_() for name, each in weights.items()}
    now = start
    for t, move in enumerate(moves):
        state, _, out = st.run(model, state, x[:, t : t + 1], params=now)
        losses.append(loss_of(out, y[:, t : t + 1]))
        now = {name: each + move[name] for name, each in now.items()}
    grads = torch.autograd.grad(torch.stack(losses).sum(), [*start.values()])
    model.zero_grad()
    learner = learning.online(model, rule)
    for t, move in enumerate(moves):
        learner.backward(loss_of(learner.step(x[:, t]), y[:, t]))
        with torch.no_grad():
            for name, each in weights.items():
                each.add_(move[name])
    found = gradients(model)
    assert max(errors({name: found[name] for name in weights}, dict(zip(weights, grads, strict=True))).values()) < EXACT


@pytest.mark.parametrize("rule", ["exact", "diagonal", "presynaptic", "last_step"])
def test_frozen_layers_get_no_gradient_and_others_the_same(rule: Rule) -> None:
    model, (x, y) = network(NEURONS["LIF, detached subtraction"], 2), data()
    whole = online_gradients(learning.online(model, rule), x, y)
    model.net[0].requires_grad_(False)  # type: ignore[index]
    found = online_gradients(learning.online(model, rule), x, y)
    assert found.keys() == {name for name in whole if not name.startswith("net.0.")}
    assert max(errors(found, {name: whole[name] for name in found}).values()) < EXACT


@pytest.mark.parametrize("rule", ["exact", "diagonal", "presynaptic", "last_step"])
def test_samples_that_start_again_forget_their_traces(rule: Rule) -> None:
    model, (x, y) = network(NEURONS["LIF, detached subtraction"]), data()
    learner, starts = learning.online(model, rule), torch.tensor([True, False, True])
    online_gradients(learner, x, y)
    model.zero_grad()
    for t in range(5):
        learner.backward(loss_of(learner.step(x[:, t], init=starts if t == 0 else None)[starts], y[starts, t]))
    found = gradients(model)
    assert max(errors(found, online_gradients(learning.online(model, rule), x[starts, :5], y[starts])).values()) < EXACT


def test_parametrized_weights_are_trained_through_their_parametrization() -> None:
    model, (x, y) = network(NEURONS["LIF"]), data()

    class Softly(nn.Module):
        def forward(self, raw: Tensor) -> Tensor:
            return raw.tanh() * 2.0

    nn.utils.parametrize.register_parametrization(model.net[0], "weight", Softly())  # type: ignore[index]
    true = by_bptt(model, x, y)
    for rule in ("exact", "diagonal"):
        assert max(errors(online_gradients(learning.online(model, rule), x, y), true).values()) < EXACT


def test_random_feedback_keeps_the_last_layer_and_repeats_with_its_seed() -> None:
    model, (x, y) = network(NEURONS["LIF"], 2), data()
    symmetric = online_gradients(learning.online(model, "diagonal"), x, y)
    found = [online_gradients(learning.online(model, "diagonal", feedback="random", seed=s), x, y) for s in (0, 0, 1)]
    assert errors(found[0], symmetric)["net.2.weight"] < EXACT
    assert errors(found[0], symmetric)["net.0.weight"] > 0.05
    assert max(errors(found[0], found[1]).values()) == 0.0
    assert errors(found[0], found[2])["net.0.weight"] > 0.05


def test_the_model_keeps_its_own_state() -> None:
    model, (x, y) = network(NEURONS["LIF"]), data()
    model(x)
    before = model.get_state()
    learner = learning.online(model)
    online_gradients(learner, x, y)
    after = model.get_state()
    assert all(torch.equal(each, after[name]) for name, each in before.items())
    assert learner.state is not None
    model.set_state(dict(learner.state))
    assert torch.equal(model(x[:, :1], init=False)[:, 0], learner.step(x[:, 0]))


def test_a_loss_that_looks_back_is_an_error() -> None:
    model, (x, _) = network(NEURONS["LIF"]), data()
    learner = learning.online(model)
    with pytest.raises(RuntimeError, match="before step"):
        learner.backward(torch.zeros((), requires_grad=True))
    first = learner.step(x[:, 0])
    second = learner.step(x[:, 1])
    with pytest.raises(RuntimeError, match="earlier step"):
        learner.backward((first + second).sum())


@pytest.mark.parametrize("rule", ["diagonal", "presynaptic", "last_step"])
def test_delays_are_refused_in_words_and_exact_takes_them(rule: Rule) -> None:
    def delayed() -> nn.Module:
        return nn.Sequential(st.Delay(2.0), nn.Linear(HIDDEN, HIDDEN), st.LIF(tau=4.0, reset=CONSTANT))

    layers = [*network(NEURONS["LIF, detached subtraction"]).net]  # type: ignore[misc]
    model, (x, y) = st.SpikingNet(nn.Sequential(*layers[:2], *delayed(), layers[2])).double(), data()  # type: ignore[misc]
    with pytest.raises(ValueError, match=r"layer 2 delays its input.*rule='exact'"):
        learning.online(model, rule).step(x[:, 0])
    true = by_bptt(model, x, y)
    assert max(errors(online_gradients(learning.online(model, "exact"), x, y), true).values()) < EXACT


def test_weights_without_a_trace_are_refused_in_words() -> None:
    x = data()[0][:, 0]
    between = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), st.LIF(tau=4.0), nn.Linear(3, 3))
    with pytest.raises(ValueError, match=r"0.weight, 0.bias, 1.weight, 1.bias reach layer 2 \(LIF\) in another way"):
        learning.online(st.SpikingNet(between).double()).step(x)
    own = nn.Sequential(nn.Linear(4, 3), st.StochasticLIF(tau=4.0), nn.Linear(3, 3))
    with pytest.raises(ValueError, match=r"StochasticLIF.* has a forward of its own"):
        learning.online(st.SpikingNet(own).double()).step(x)


def test_wrong_arguments_are_named() -> None:
    model = network(NEURONS["LIF"])
    with pytest.raises(TypeError, match="expected a SpikingNet"):
        learning.online(model.net)  # type: ignore[arg-type]
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"rule": "e-prop"}, "'e-prop', expected one of 'exact'"),
        ({"feedback": "none"}, "expected one of 'symmetric'"),
        ({"rule": "exact", "feedback": "random"}, "leave feedback='random' out"),
        ({"rule": "diagonal", "approximate": True}, "is for rule='presynaptic'"),
    )
    for options, message in wrong:
        with pytest.raises(ValueError, match=message):
            learning.online(model, **options)
    with pytest.raises(ValueError, match="has seen no step"):
        learning.online(model).explain()
