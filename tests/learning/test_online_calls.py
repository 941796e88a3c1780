"""Calls of an online learner: what changes between them, what fails, what is saved, 16 bits, and memory."""

import copy
import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import spikingtorch as st
from spikingtorch import learning, like
from tests.folded_layer import Coded
from tests.learning import online_nets
from tests.learning.online_nets import EXACT, NEURONS, by_bptt, data, errors, gradients, network, online_gradients
from tests.test_recompute import counting
from tests.test_recompute_between import OWN, Outside, Writes

RULES: Any = ("exact", "diagonal", "presynaptic", "last_step")


@pytest.mark.parametrize("rule", RULES[:2])
def test_weights_that_are_unfrozen_or_replaced_between_sequences_learn(rule: Any) -> None:
    model, (x, y) = network(NEURONS["LIF"]), data(steps=8)
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
    torch.manual_seed(0)
    (x, y), model = data(), online_nets.louder(nn.Sequential(wrap(nn.Linear(4, 5)), st.LIF(tau=4.0), nn.Linear(5, 3)))
    learner, true = learning.online(model, "diagonal"), by_bptt(model, x, y)
    with torch.no_grad():
        learner.step(x[:, 0])
    learner.reset()
    for t in range(x.shape[1]):
        loss = online_nets.loss_of(learner.step(x[:, t]), y[:, t])
        with torch.no_grad():
            learner.backward(loss)
    assert max(errors(gradients(model), true).values()) < EXACT
    with torch.no_grad():
        next(model.parameters()).mul_(1.1)
    with pytest.raises(ValueError, match=r"leads to layer 1 \(LIF\) is computed from others.*earlier values"):
        learner.step(x[:, 0])


def test_a_loss_that_looks_back_is_an_error_that_leaves_no_gradient_behind() -> None:
    model, (x, y) = network(NEURONS["LIF"]), data()
    learner = learning.online(model)
    with pytest.raises(RuntimeError, match="before step"):
        learner.backward(torch.zeros((), requires_grad=True))
    first, second = learner.step(x[:, 0]), learner.step(x[:, 1])
    with pytest.raises(RuntimeError, match="earlier step"):
        learner.backward((first + second).sum())
    model.zero_grad()
    learner.backward(online_nets.loss_of(second, y[:, 1]))
    found = gradients(model)
    learner.reset()
    learner.step(x[:, 0])
    learner.backward(online_nets.loss_of(learner.step(x[:, 1]), y[:, 1]))
    assert max(errors(gradients(model), found).values()) == 0.0


@pytest.mark.parametrize("rule", RULES[:2])
def test_a_step_that_fails_changes_nothing(rule: Any) -> None:
    model, (x, y) = network(NEURONS["LIF"]), data(steps=8)
    true, learner = by_bptt(model, x, y), learning.online(model, rule)
    for t in range(x.shape[1]):
        learner.backward(online_nets.loss_of(learner.step(x[:, t]), y[:, t]))
        nan = x[:, t] * float("nan")
        for wrong, init in ((nan, None), (nan, True), (x[:, t], torch.ones(2, dtype=torch.bool))):
            with pytest.raises(ValueError, match=r"holds NaN|one for each sample"):
                learner.step(wrong, init)
        with pytest.raises(RuntimeError, match="before step"):
            learner.backward(torch.zeros((), requires_grad=True))
    assert max(errors(gradients(model), true).values()) < EXACT


def test_the_model_keeps_its_own_state() -> None:
    model, (x, y) = network(NEURONS["LIF"]), data()
    model(x)
    before = model.get_state()
    learner = learning.online(model)
    online_gradients(learner, x, y)
    after = model.get_state()
    assert all(torch.equal(each, after[name]) for name, each in before.items())
    model.set_state(dict(learner.state or {}))
    assert torch.equal(model(x[:, :1], init=False)[:, 0], learner.step(x[:, 0]))


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
    with pytest.raises(ValueError, match=r"x requires a gradient.*pass x.detach\(\)"):
        learning.online(model).step(data()[0][:, 0].requires_grad_())
    with pytest.raises(ValueError, match="has seen no step"):
        learning.online(model).explain()


# --- streams that never end, and 16 bits ------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("neuron", ["LIF, detached subtraction", "LIF, learnable", "ALIF", "dense"])
def test_a_stream_is_taken_up_again(rule: Any, neuron: str, tmp_path: Path) -> None:
    (x, y), options = data(steps=7), dict[str, Any](approximate=rule == "presynaptic")
    model = network((NEURONS | online_nets.RECURRENT)[neuron], 2)
    learner: Any = learning.online(model, rule, **options)
    online_nets.run(learner, x[:, :3], y[:, :3])
    out = learner.step(x[:, 3])
    torch.save(learner.get_state(), tmp_path / "state.pt")
    learner.backward(online_nets.loss_of(out, y[:, 3]))  # the state of a step does not disturb its gradient
    gradients(model)
    true = online_nets.run(learner, x[:, 4:], y[:, 4:])
    other: Any = learning.online(network((NEURONS | online_nets.RECURRENT)[neuron], 2), rule, **options)
    other.set_state(torch.load(tmp_path / "state.pt"))
    assert other.get_state().keys() == {"state", "traces"}
    assert max(errors(online_nets.run(other, x[:, 4:], y[:, 4:]), true).values()) == 0.0


def test_states_of_others_are_refused() -> None:
    x, y = data()
    learner = learning.online(network(NEURONS["LIF"]), "diagonal")
    assert learner.get_state() == {"state": {}, "traces": {}}
    online_nets.run(learner, x, y)
    with pytest.raises(ValueError, match=r"has the parts \['v'\], expected 'state' and 'traces'"):
        learner.set_state({"v": {}})
    state = learner.get_state()
    learner.set_state(state)
    with pytest.raises(RuntimeError, match="before step"):
        learner.backward(torch.zeros((), requires_grad=True))
    refused: Any = (("last_step", "has no traces, and the state"), ("exact", "of other weights"))
    for rule, message in refused:
        other = learning.online(network(NEURONS["LIF"]), rule)
        other.set_state(state)
        with pytest.raises(ValueError, match=message):
            other.step(x[:, 0])
    other = learning.online(network(NEURONS["LIF"], 2), "diagonal")
    other.set_state(state)
    with pytest.raises(ValueError, match="state holds nothing for 3"):
        other.step(x[:, 0])
    del state["traces"]["1.bias.0"]
    learner.set_state(state)
    with pytest.raises(ValueError, match=r"traces of layer 1 are incomplete. Hand over what get_state"):
        learner.step(x[:, 0])
    with pytest.raises(TypeError, match=r"copied.set_state\(learner.get_state\(\)\)"):
        learner.__reduce__()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("way", ["autocast", "half"])
def test_sixteen_bits(rule: Any, way: str) -> None:
    """The gradients are those of float32, to the rounding of bfloat16, where the spikes are the same."""
    x, y = (each.float() for each in data())
    x = (x < 0.5).float()
    found = []
    for half in (False, True):
        model = network(NEURONS["LIF, detached subtraction"]).float()
        with torch.no_grad():
            for each in model.parameters():
                each.copy_(each.bfloat16())  # weights that both have
        model = model.bfloat16() if half and way == "half" else model
        dtype = next(model.parameters()).dtype
        learner = learning.online(model, rule)
        with torch.autocast("cpu", enabled=half and way == "autocast"):
            for t in range(x.shape[1]):
                learner.backward(online_nets.loss_of(learner.step(x[:, t].to(dtype)).float(), y[:, t]))
        found.append({name: each.float() for name, each in gradients(model).items()})
        assert all(each.grad is None or each.grad.dtype == each.dtype for each in model.parameters())
    assert max(errors(found[1], found[0]).values()) < 0.05


# --- memory -----------------------------------------------------------------------------------------------------------


def tensors() -> dict[int, Tensor]:
    gc.collect()
    return {id(each): each for each in gc.get_objects() if isinstance(each, Tensor)}


def held(others: dict[int, Tensor]) -> tuple[int, int]:
    """Return the bytes and the number of tensors that there are besides others."""
    ours = [each for key, each in tensors().items() if key not in others]
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in ours}
    return sum(storages.values()), len(ours)


@pytest.mark.sampled
@pytest.mark.parametrize("rule", RULES)
def test_memory_does_not_grow_with_the_number_of_steps(rule: Any) -> None:
    others = tensors()  # held, so that what other tests have left is neither counted nor freed meanwhile
    model = network(NEURONS["LIF, detached subtraction"], 2)
    learner, x = learning.online(model, rule), torch.rand(2, 4, dtype=torch.float64)
    found = []
    for steps in (5, 40 if rule == "exact" else 400):
        for _ in range(steps):
            learner.backward(learner.step(x).square().sum())
        found.append(held(others))
    assert found[1] == found[0]


@pytest.mark.night
@pytest.mark.timeout(900)
@pytest.mark.parametrize("rule", ["presynaptic", "last_step"])
def test_memory_is_flat_from_a_thousand_steps_to_a_hundred_thousand(rule: Any) -> None:
    others = tensors()
    model = st.SpikingNet(
        nn.Sequential(nn.Linear(4, 5), st.LIF(tau=4.0, reset=online_nets.CONSTANT)), warn_silent=False
    )
    learner, x, found = learning.online(model, rule), torch.rand(2, 4), []
    for steps in (1_000, 99_000):
        out = learner.step(x)
        for t in range(1, steps):
            if t % 10 == 0:  # a loss now and then takes half the time
                learner.backward(out.square().sum())
            out = learner.step(x)
        del out
        found.append(held(others))
    assert found[1] == found[0]


# modules that scale their input by a number of their own, which differs from call to call
KEEP = {"a counter": OWN["a counter"], "a generator": OWN["a generator, python"], "a buffer assigned anew": counting}


@pytest.mark.parametrize("kind", KEEP)
@pytest.mark.parametrize("rule", RULES)
def test_modules_run_once_a_step(rule: Any, kind: str) -> None:
    (x, y), model = (
        data(),
        online_nets.louder(
            nn.Sequential(nn.Linear(4, 5), NEURONS["LIF, detached subtraction"](), KEEP[kind](), nn.Linear(5, 3))
        ),
    )
    true, learner = by_bptt(copy.deepcopy(model), x, y), learning.online(copy.deepcopy(model), rule)
    learner.explain(x[:, 0])
    outs = torch.stack([learner.step(each).detach() for each in x.unbind(1)], 1)
    assert torch.equal(outs, copy.deepcopy(model)(x))
    found = errors(online_gradients(learning.online(model, rule), x, y), true)
    assert rule != "exact" or max(found.values()) < EXACT


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Outside("an iterator"), r"learning\.online: .* twice .* the inputs of 2 \(LIF\) are not those"),
        (Writes(apart=True), r"writes on counted, a tensor of shape \(1,\) .*register_buffer\('counted', tensor\)"),
    ],
    ids=["an iterator", "a tensor"],
)
def test_a_number_that_is_not_put_back_is_an_error(module: nn.Module, message: str) -> None:
    model = online_nets.louder(nn.Sequential(nn.Linear(4, 5), module, st.LIF(tau=4.0), nn.Linear(5, 3)))
    with pytest.raises(RuntimeError, match=message):
        learning.online(model, "diagonal").step(data()[0][:, 0])


def test_a_hook_on_a_weight_sees_the_gradient_once() -> None:
    (x, y), model = data(), network(NEURONS["LIF"])
    net: Any = model.net
    net[0].weight.register_hook(lambda grad: 0.5 * grad)
    assert max(errors(online_gradients(learning.online(model, "exact"), x, y), by_bptt(model, x, y)).values()) < EXACT


def test_what_autograd_leaves_out_or_scales_is_left_out_or_scaled() -> None:
    (x, y), model = data(steps=1), st.SpikingNet(network(NEURONS["LIF"], 2).net, mode="step")
    first: Any = model.get_submodule("net.0")
    hook = first.register_forward_hook(lambda _, given, z: z.register_hook(lambda grad: 0.5 * grad) and None)
    found = online_gradients(learning.online(model, "diagonal"), x, y)
    assert max(errors(found, by_bptt(model, x, y)).values()) < EXACT
    hook.remove()
    first.forward = torch.no_grad()(first.forward)
    assert "net.0.weight" not in online_gradients(learning.online(model, "last_step"), x, y)


@pytest.mark.parametrize("rule", RULES[1:3])
def test_a_bias_of_recurrent_weights_learns_like_that_of_the_inputs(rule: Any) -> None:
    torch.manual_seed(0)
    (x, y), layer = data(), like.snntorch.RLeaky(0.9, linear_features=5, threshold=0.3)
    model = online_nets.louder(nn.Sequential(nn.Linear(4, 5), layer, nn.Linear(5, 3)))
    found = online_gradients(learning.online(model, rule), x, y)
    torch.testing.assert_close(found["net.1.recurrent.bias"], found["net.0.bias"], rtol=1e-10, atol=0)


@pytest.mark.parametrize("rule", ["exact", "diagonal", "last_step"])
def test_outputs_of_whole_numbers_have_no_gradient(rule: Any) -> None:
    torch.manual_seed(0)
    net = Coded(lambda net, x, init: ((out := net.net(x)).argmax(1), out), net=network(NEURONS["LIF"]).net)
    model, x = st.SpikingNet(net, mode="step").double(), data()[0][:, 0]
    learner = learning.online(model, rule)
    place, out = learner.step(x)
    learner.backward(out.square().sum())
    assert torch.equal(place, out.argmax(1))
    true = torch.autograd.grad(model(x.unsqueeze(1))[1].square().sum(), [*model.parameters()])
    for weight, wanted in zip(model.parameters(), true, strict=True):
        torch.testing.assert_close(weight.grad, wanted)
