"""Online rules: their gradients beside those of back-propagation through time, in float64."""

from typing import Any

import pytest
import torch

import spikingtorch as st
from spikingtorch import learning
from tests.learning import online_nets
from tests.learning.online_nets import EXACT, NEURONS, data, errors, gradients, loss_of, network, online_gradients

pytestmark = pytest.mark.sampled


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("neuron", [*NEURONS, *online_nets.RECURRENT])
def test_exact_is_bptt(neuron: str, depth: int) -> None:
    online_nets.assert_bptt(network((NEURONS | online_nets.RECURRENT)[neuron], depth), "exact", *data())


@pytest.mark.parametrize("neuron", NEURONS)
def test_diagonal_is_bptt_for_one_layer_under_a_readout_without_memory(neuron: str) -> None:
    learner = online_nets.assert_bptt(network(NEURONS[neuron]), "diagonal", *data())
    assert all(each.exact for each in learner.explain().layers)


@pytest.mark.parametrize("depth", [2, 3])
def test_diagonal_is_bptt_for_the_last_layer_alone(depth: int) -> None:
    model, (x, y) = network(NEURONS["ALIF"], depth), data()
    found = errors(online_gradients(learning.online(model, "diagonal"), x, y), online_nets.by_bptt(model, x, y))
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
    assert errors(online_gradients(learner, x, y), online_nets.by_bptt(model, x, y))["net.0.weight"] > 0.01
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


@pytest.mark.parametrize("neuron", ["LIF", "ALIF"])
def test_last_step_is_back_propagation_with_a_state_detached_at_each_step(neuron: str) -> None:
    model, (x, y) = network(NEURONS[neuron], 2), data()
    found = online_gradients(learning.online(model, "last_step"), x, y)
    for t in range(x.shape[1]):  # a call detaches the state
        loss_of(model(x[:, t : t + 1], init=t == 0), y[:, t : t + 1]).backward()
    assert max(errors(found, gradients(model)).values()) < EXACT


@pytest.mark.parametrize("rule", ["exact", "diagonal"])
def test_a_window_in_which_weights_change(rule: Any) -> None:
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
def test_frozen_layers_get_no_gradient_and_others_the_same(rule: Any) -> None:
    model, (x, y) = network(NEURONS["LIF, detached subtraction"], 2), data()
    whole = online_gradients(learning.online(model, rule), x, y)
    model.net[0].requires_grad_(False)  # type: ignore[index]
    found = online_gradients(learning.online(model, rule), x, y)
    assert found.keys() == {name for name in whole if not name.startswith("net.0.")}
    assert max(errors(found, {name: whole[name] for name in found}).values()) < EXACT


@pytest.mark.parametrize("rule", ["exact", "diagonal", "presynaptic", "last_step"])
def test_samples_that_start_again_forget_their_traces(rule: Any) -> None:
    model, (x, y) = network(NEURONS["LIF, detached subtraction"]), data()
    learner, starts = learning.online(model, rule), torch.tensor([True, False, True])
    online_gradients(learner, x, y)
    model.zero_grad()
    for t in range(5):
        learner.backward(loss_of(learner.step(x[:, t], init=starts if t == 0 else None)[starts], y[starts, t]))
    found = gradients(model)
    assert max(errors(found, online_gradients(learning.online(model, rule), x[starts, :5], y[starts])).values()) < EXACT


def test_random_feedback_keeps_the_last_layer_and_repeats_with_its_seed() -> None:
    model, (x, y) = network(NEURONS["LIF"], 2), data()
    symmetric = online_gradients(learning.online(model, "diagonal"), x, y)
    found = [online_gradients(learning.online(model, "diagonal", feedback="random", seed=s), x, y) for s in (0, 0, 1)]
    assert errors(found[0], symmetric)["net.2.weight"] < EXACT
    assert errors(found[0], symmetric)["net.0.weight"] > 0.05
    assert max(errors(found[0], found[1]).values()) == 0.0
    assert errors(found[0], found[2])["net.0.weight"] > 0.05
