"""Online rules on streams that never end, and in 16 bits."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import learning
from spikingtorch.learning import OnlineLearner
from spikingtorch.learning.online_learner import Rule
from tests.learning.online_nets import CONSTANT, NEURONS, RECURRENT, data, errors, gradients, loss_of, network
from tests.learning.test_online_shapes import tensors

RULES: tuple[Rule, ...] = ("exact", "diagonal", "presynaptic", "last_step")


def run(learner: OnlineLearner, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Return the gradients of some steps, from the state that a learner is in."""
    for t in range(x.shape[1]):
        learner.backward(loss_of(learner.step(x[:, t]), y[:, t]))
    return gradients(learner.model)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("neuron", ["LIF, detached subtraction", "LIF, learnable", "ALIF", "dense"])
def test_a_stream_is_taken_up_again(rule: Rule, neuron: str, tmp_path: Path) -> None:
    (x, y), options = data(), dict[str, Any](approximate=rule == "presynaptic")
    model = network((NEURONS | RECURRENT)[neuron], 2)
    learner: Any = learning.online(model, rule, **options)
    run(learner, x[:, :7], y[:, :7])
    out = learner.step(x[:, 7])
    torch.save(learner.get_state(), tmp_path / "state.pt")
    learner.backward(loss_of(out, y[:, 7]))  # the state of a step does not disturb its gradient
    gradients(model)
    true = run(learner, x[:, 8:], y[:, 8:])
    other: Any = learning.online(network((NEURONS | RECURRENT)[neuron], 2), rule, **options)
    other.set_state(torch.load(tmp_path / "state.pt"))
    assert other.get_state().keys() == {"state", "traces"}
    assert max(errors(run(other, x[:, 8:], y[:, 8:]), true).values()) == 0.0


def test_states_of_others_are_refused() -> None:
    x, y = data()
    learner = learning.online(network(NEURONS["LIF"]), "diagonal")
    assert learner.get_state() == {"state": {}, "traces": {}}
    run(learner, x, y)
    with pytest.raises(ValueError, match=r"has the parts \['v'\], expected 'state' and 'traces'"):
        learner.set_state({"v": {}})
    state = learner.get_state()
    learner.set_state(state)
    with pytest.raises(RuntimeError, match="before step"):
        learner.backward(torch.zeros((), requires_grad=True))
    refused: tuple[tuple[Rule, str], ...] = (
        ("last_step", "has no traces, and the state"),
        ("exact", "of other weights"),
    )
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
def test_sixteen_bits(rule: Rule, way: str) -> None:
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
                learner.backward(loss_of(learner.step(x[:, t].to(dtype)).float(), y[:, t]))
        found.append({name: each.float() for name, each in gradients(model).items()})
        assert all(each.grad is None or each.grad.dtype == each.dtype for each in model.parameters())
    assert max(errors(found[1], found[0]).values()) < 0.05


@pytest.mark.night
@pytest.mark.timeout(900)
@pytest.mark.parametrize("rule", ["presynaptic", "last_step"])
def test_memory_is_flat_from_a_thousand_steps_to_a_hundred_thousand(rule: Rule) -> None:
    others = tensors()
    model = st.SpikingNet(nn.Sequential(nn.Linear(4, 5), st.LIF(tau=4.0, reset=CONSTANT)), warn_silent=False)
    learner, x, found = learning.online(model, rule), torch.rand(2, 4), []
    for steps in (1_000, 99_000):
        out = learner.step(x)
        for t in range(1, steps):
            if t % 10 == 0:  # a loss now and then takes half the time
                learner.backward(out.square().sum())
            out = learner.step(x)
        del out
        ours = [each for key, each in tensors().items() if key not in others]
        storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in ours}
        found.append((sum(storages.values()), len(ours)))
        del ours
    assert found[1] == found[0]
