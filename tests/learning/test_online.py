"""Online rules: their gradients beside back-propagation through time, and beside the one in JAX, in float64."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch import jax as SJ
from spikingtorch import learning
from spikingtorch.functional.jax_reference.influence import Neurons, online_gradient
from spikingtorch.interop import to_jax, to_torch
from tests.learning import online_nets
from tests.learning.online_nets import (
    EXACT,
    HIDDEN,
    NEURONS,
    by_bptt,
    data,
    errors,
    gradients,
    loss_of,
    network,
    online_gradients,
)

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


# --- beside JAX -------------------------------------------------------------------------------------------------------


AS_IN_JAX = 1e-10
RULES: tuple[Any, ...] = ("exact", "diagonal", "presynaptic", "last_step")


class Case(NamedTuple):
    """A neuron in torch, and its step in JAX with parameters worked out here."""

    layer: Callable[[], nn.Module]
    step: Callable[..., Any]
    state: Any
    params: dict[str, Any]


DECAY = math.exp(-1 / 4.0)
LEAKY = {"decay": DECAY, "gain": 4.0 * (1 - DECAY)}  # tau is 4 steps
ADAPTIVE = LEAKY | {"decay_adaptation": math.exp(-1 / 9.0), "adaptation": 1.8}


def lif(reset: Any, twin: Any, **options: Any) -> Case:
    return Case(lambda: st.LIF(tau=4.0, reset=reset, **options), SJ.lif_step, SJ.LIFState, LEAKY | {"reset": twin})


def by_tau(state: Any, z: Any, *, tau: Any, **params: Any) -> Any:
    """Advance a LIF whose time constant is trained."""
    decay = jnp.exp(-1 / tau)
    return SJ.lif_step(state, z, decay=decay, gain=tau * (1 - decay), **params)


CASES = {
    "LIF, to zero": lif(F.to_zero, SJ.to_zero),
    "LIF, detached to zero": lif(F.detached(F.to_zero), SJ.detached(SJ.to_zero)),
    "LIF, by subtraction": lif(F.by_subtraction, SJ.by_subtraction),
    "LIF, detached subtraction": lif(F.detached(F.by_subtraction), SJ.detached(SJ.by_subtraction)),
    "ALIF": Case(lambda: st.ALIF(tau=4.0, tau_adaptation=9.0), SJ.alif_step, SJ.ALIFState, ADAPTIVE),
    "recurrent LIF": lif(F.to_zero, SJ.to_zero)._replace(
        layer=lambda: st.LIF(tau=4.0, recurrent=nn.Linear(HIDDEN, HIDDEN, bias=False))
    ),
    "LIF, trained tau": Case(lambda: st.LIF(tau=4.0, learnable="tau"), by_tau, SJ.LIFState, {}),
}


def by_twin(model: st.SpikingNet, case: Case, depth: int, x: Tensor, y: Tensor, rule: str) -> dict[str, Tensor]:
    """Return the gradients of the twin, by the names of the network's weights."""
    owner = {f"net.{2 * k}.{name}": (k, name) for k in range(depth + 1) for name in ("weight", "bias")}
    owner |= {f"net.{2 * k + 1}.recurrent.weight": (k, "recurrent") for k in range(depth)}
    owner |= {f"net.{2 * k + 1}.tau": (k, "tau") for k in range(depth)}
    with jax.enable_x64(True):
        rest = case.state(*[jnp.zeros(HIDDEN) for _ in case.state._fields])
        layers = [Neurons(case.step, rest, case.params)] * depth
        weights: list[dict[str, Any]] = [{} for _ in range(depth + 1)]
        for name, each in model.named_parameters():
            k, key = owner[name]
            weights[k][key] = to_jax(each.detach())

        def of_sample(xs: Any, ys: Any) -> Any:
            return online_gradient(layers, weights, xs, lambda out, each: ((out - each) ** 2).sum(), ys, rule=rule)

        found = jax.jit(jax.vmap(of_sample))(to_jax(x), to_jax(y))
        summed = to_torch(jax.tree.map(lambda each: each.sum(0), found))
    return {name: summed[owner[name][0]][owner[name][1]] for name, _ in model.named_parameters()}


@pytest.mark.parametrize("neuron", CASES)
@pytest.mark.parametrize("rule", RULES)
def test_torch_is_the_twin(rule: Any, neuron: str) -> None:
    case, (x, y) = CASES[neuron], data()
    model = network(case.layer, 2)
    learner = learning.online(model, rule, approximate=rule == "presynaptic" and "detached sub" not in neuron)
    found, true = online_gradients(learner, x, y), by_twin(model, case, 2, x, y, rule)
    assert max(errors(found, true).values()) < AS_IN_JAX  # errors() asserts that no gradient is zero


@pytest.mark.parametrize("neuron", ["LIF, to zero", "recurrent LIF"])
def test_the_exact_twin_is_bptt_and_the_others_are_not(neuron: str) -> None:
    case, (x, y) = CASES[neuron], data()
    model = network(case.layer, 2)
    true = by_bptt(model, x, y)
    found = {rule: errors(by_twin(model, case, 2, x, y, rule), true)["net.0.weight"] for rule in RULES}
    assert found.pop("exact") < AS_IN_JAX
    assert min(found.values()) > 0.05
