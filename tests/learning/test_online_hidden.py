"""What a first step does not show, and what trial steps change: the numbers are right, or an error says why not."""

import re
from collections import namedtuple
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch import learning
from tests.folded_layer import Coded, Lambda
from tests.learning.online_nets import CONSTANT, EXACT, by_bptt, data, errors, gradients, loss_of, louder, run
from tests.learning.test_online_networks import OwnState

RULES: Any = ("exact", "diagonal", "presynaptic", "last_step")
Code = Callable[[Any, Tensor, Any], Any]


def lif(**options: Any) -> st.LIF:
    return st.LIF(tau=4.0, reset=CONSTANT, **options)


def plain(net: Any, x: Tensor, init: Any) -> Any:
    return net.r(net.n(net.w(x), init))


def coded(code: Code, n: nn.Module | None = None, w: Any = None) -> st.SpikingNet:
    """Return a network whose code may use more weights and layers than it does at first."""
    torch.manual_seed(0)
    between = {"w": w or nn.Linear(4, 5), "g": nn.Linear(5, 5), "n": n or lif(), "m": lif(), "r": nn.Linear(5, 3)}
    return louder(Coded(code, **between))


def later(code: Code, start: Code = plain) -> Code:
    """Return other code from the third step on."""

    def both(net: Any, x: Tensor, init: Any) -> Any:
        net.t = getattr(net, "t", 0) + 1
        return (code if net.t > 2 else start)(net, x, init)

    return both


def written(net: Any, x: Tensor, init: Any) -> Any:
    x = x + 0.0
    z = net.w(x)
    return net.r(net.n(z, init)) + 0.0 * x.mul_(0.0).sum()


def stepping(more: Callable[[Tensor, Tensor], Any]) -> Any:
    """Return a step whose membrane takes more than its input."""

    def step(state: OwnState, x: Tensor, *, decay: Any) -> Any:
        u = decay * state.v + x + more(state.v, x)
        return OwnState(u), u.sigmoid()

    return step


own_step = stepping(lambda v, x: 0.0)
noisy_step = stepping(lambda v, x: x * torch.rand_like(x))
mixing_step = stepping(lambda v, x: 0.1 * v * v.mean(0))


class Noisy(st.StepLayer):
    """A decay that is drawn at each step."""

    def step_params(self) -> dict[str, Any]:
        return super().step_params() | {"decay": 0.5 + 0.4 * torch.rand(())}


class Counting(st.StepLayer):
    """A decay that falls from call to call."""

    calls = 0

    def step_params(self) -> dict[str, Any]:
        self.calls += 1
        return super().step_params() | {"decay": 0.9 / (1 + 0.1 * self.calls)}


def dropping() -> nn.Module:
    drop = Lambda(lambda _, weight: weight * torch.rand_like(weight))
    return parametrize.register_parametrization(nn.Linear(4, 5), "weight", drop, unsafe=True)


FREE = torch.full((5,), 0.8, dtype=torch.float64, requires_grad=True)
WAY = r"{} reach layer n \(LIF\) in another way"
FREED = r"layer n \(LIF\) depends on a tensor of shape \(5,\) that requires a gradient and is no parameter"
AGAIN = r"weights of layer n \(.*\) draw random numbers or count their calls"
HIDDEN: dict[str, tuple[Callable[[], st.SpikingNet], str]] = {
    # networks, and the message of "diagonal" and of "presynaptic"
    "mixing": (lambda: coded(plain, st.StepLayer(mixing_step, OwnState, decay=0.8)), r"layer n .* mixes neurons"),
    "a noisy step": (lambda: coded(plain, st.StepLayer(noisy_step, OwnState, decay=0.8)), AGAIN),
    "a noisy decay": (lambda: coded(plain, Noisy(own_step, OwnState, decay=0.8, learnable="decay")), AGAIN),
    "a counted decay": (lambda: coded(plain, Counting(own_step, OwnState, decay=0.8, recurrent=torch.zeros(5))), AGAIN),
    "a noisy weight": (lambda: coded(plain, w=dropping()), AGAIN),
}
CODES: dict[str, tuple[Code, str]] = {
    "detach_": (lambda net, *x: net.n.detach_() or plain(net, *x), r"calls detach_\(\) of a LIF"),
    "reset": (later(lambda net, *x: net.n.reset(net.w(x[0])) or plain(net, *x)), "sets the state of a LIF"),
    "a weight twice": (lambda net, x, init: plain(net, x * net.w.weight.mean(), init), WAY.format("w.weight")),
    "another weight": (later(lambda net, x, init: plain(net, x * net.g.weight.mean(), init)), WAY.format("g.weight")),
    "a product": (
        later(plain, lambda net, x, init: net.r(net.n(x[:, [0, 1, 2, 3, 0]], init))),
        WAY.format("w.weight, w.*"),
    ),
    "a layer": (later(lambda net, x, init: net.r(net.m(net.g(net.n(net.w(x), init)), init))), "it did not call in the"),
    "no parameter": (lambda net, x, init: plain(net, x * FREE[:4], init), WAY.format("a tensor of .*")),
    "a free tau": (lambda net, *x: setattr(net.n, "tau", 5.0 * FREE) or plain(net, *x), FREED),  # type: ignore
    "written on": (written, r"input of layer n .* was overwritten within the step"),
}
HIDDEN |= {name: (partial(coded, code), message) for name, (code, message) in CODES.items()}


@pytest.mark.parametrize("rule", RULES[1:3])
@pytest.mark.parametrize("name", HIDDEN)
def test_a_step_that_hides_something_is_refused_and_changes_nothing(name: str, rule: Any) -> None:
    (make, message), (x, y) = HIDDEN[name], data(steps=6)
    learner = learning.online(make(), rule, approximate=rule == "presynaptic")
    refused, steps = "", iter(zip(x.unbind(1), y.unbind(1), strict=True))
    while not refused:
        before, (now, wanted) = learner.get_state(), next(steps)
        try:
            learner.backward(loss_of(learner.step(now), wanted))
        except ValueError as error:
            refused = str(error)
    assert re.search(message, refused), refused
    for part, tensors in learner.get_state().items():
        assert tensors.keys() == before[part].keys()
        assert all(torch.equal(each, before[part][key]) for key, each in tensors.items())


def test_steps_and_leaks_that_are_replaced_within_a_sequence_are_refused() -> None:
    (x, _), leak = data(), r"leak of all neurons .* of layer n \(LIF\) depends on its state or on the neuron"
    for name, value, message in (
        ("reset", F.to_zero, "steps of the network were replaced.* within a sequence"),
        ("tau", torch.linspace(2.0, 9.0, 5, dtype=torch.float64), leak),
    ):
        learner = learning.online(coded(plain), "presynaptic")
        learner.step(x[:, 0])
        setattr(learner.model.get_submodule("net.n"), name, value)
        with pytest.raises(ValueError, match=message):
            learner.step(x[:, 1])


class Changing(nn.Module):
    """Changes what a parameter has at each call: its gradient, its value, or its hooks."""

    def __init__(self) -> None:
        super().__init__()
        self.graded, self.moved, self.hooked = (nn.Parameter(torch.ones(())) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            (2.0 * self.graded).backward()
        self.moved.data.mul_(0.5)
        self.hooked.register_hook(lambda grad: grad)
        return x


@pytest.mark.parametrize("rule", RULES)
def test_trial_steps_leave_nothing_behind(rule: Any) -> None:
    (x, y), changing = data(), Changing()
    torch.manual_seed(0)
    model = louder(nn.Sequential(nn.Linear(4, 5), lif(), changing, nn.Linear(5, 3)))
    with st.SpikeMonitor(model, every=1) as monitor:
        run(learning.online(model, rule), x, y)
        found = monitor.metrics()
        monitor.reset()
        assert changing.moved.item() == 0.5 ** x.shape[1]
        assert len(changing.hooked._backward_hooks) == x.shape[1]  # type: ignore[arg-type]
        model(x)
        true = monitor.metrics()
    assert (found["1/rate"], found["1/silent"]) == (true["1/rate"], true["1/silent"])
    changing.graded.grad = None
    learner = learning.online(model, rule)
    learner.explain(x[:, 0])
    assert changing.graded.grad is None
    learner.step(x[:, 0])
    assert changing.graded.grad.item() == 2.0  # type: ignore[attr-defined]


def test_checks_that_refuse_a_network_leave_it_as_it_was() -> None:
    layer = Counting(own_step, OwnState, decay=0.8)
    model = coded(plain, layer)
    layer.calls = 0
    with pytest.raises(ValueError, match="leak of all neurons"):
        learning.online(model, "presynaptic").step(data()[0][:, 0])
    assert layer.calls == 0


@pytest.mark.parametrize("rule", RULES)
def test_what_a_learner_hands_out_may_be_written_on(rule: Any) -> None:
    (x, y), found = data(), []
    for writes in (False, True):
        model = coded(lambda net, x, init: (s := net.n(net.w(x), init), net.r(net.m(net.g(s), init))))
        learner = learning.online(model, rule)
        for t in range(x.shape[1]):
            s, out = learner.step(x[:, t])
            learner.backward(loss_of(out, y[:, t]) + s.square().sum())
            if writes:
                for each in (s, out, *learner.state.values()):  # type: ignore[union-attr]
                    each.detach().zero_()
        found.append(gradients(model))
    assert max(errors(*found).values()) == 0.0


@pytest.mark.parametrize("rule", RULES)
def test_a_failed_call_cannot_be_taken_for_another_one(rule: Any) -> None:
    (x, y), model = data(), coded(lambda net, x, init: net.r(net.m(net.g(net.n(net.w(x), init)), init)))
    learner = learning.online(model, rule)
    learner.step(x[:, 0])
    out = learner.step(x[:, 1])
    with torch.no_grad():
        model.get_parameter("net.g.weight").mul_(2.0)
    with pytest.raises(RuntimeError, match=r"overwritten between step\(\) and|modified by an inplace"):
        learner.backward(loss_of(out, y[:, 1]))
    with pytest.raises(RuntimeError, match=r"before step\(\), or after one of both that has failed"):
        learner.backward(loss_of(out, y[:, 1]))
    out = learner.step(x[:, 2])
    model.net.w = nn.Linear(4, 5).double()
    with pytest.raises(RuntimeError, match=r"replaced.* between step\(\) and backward\(\)"):
        learner.backward(loss_of(out, y[:, 2]))


@pytest.mark.parametrize("rule", RULES)
def test_networks_that_run_over_time_by_themselves_or_have_no_shapes_yet_are_refused(rule: Any) -> None:
    nested = coded(lambda net, x, init: net.n(net.w(x).unsqueeze(1), init)[:, 0], st.SpikingNet(lif()))
    with pytest.raises(ValueError, match=r"n is a SpikingNet within a network.*n\.net"):
        learning.online(nested, rule)
    lazy = st.SpikingNet(nn.Sequential(nn.LazyLinear(5), lif()), mode="step")
    with pytest.raises(ValueError, match=r"0\.weight has no shape yet.*Run the model once"):
        learning.online(lazy, rule).step(data()[0][:, 0])


# two states, neurons first
Pair = namedtuple("Pair", ["v", "w"])


class Turned(st.StepLayer):
    """Keeps its states as (neurons, samples)."""

    def rest_state(self, x: Tensor) -> Pair:
        return Pair(*x.new_zeros(2, 5, 3).unbind())

    def _check_continues(self, state: Any, x: Tensor) -> None:
        pass


def turned_step(state: Pair, x: Tensor, *, decay: Any) -> Any:
    u = decay * state.v + x.T - 0.5 * state.w
    return Pair(u, 0.8 * state.w + u.sigmoid()), u.T.sigmoid()


def test_exact_takes_up_states_whose_first_axis_is_not_that_of_the_samples() -> None:
    (x, y), model = data(steps=8), coded(plain, Turned(turned_step, Pair, decay=0.8))
    true, learner = by_bptt(model, x, y), learning.online(model, "exact")
    for t in range(8):
        learner.set_state(learner.get_state())
        learner.backward(loss_of(learner.step(x[:, t]), y[:, t]))
    found = gradients(model)
    assert max(errors({key: found[key] for key in true}, true).values()) < EXACT


@pytest.mark.parametrize("name", ["a layer", "detach_", "a noisy decay", "a weight twice"])
def test_exact_follows_what_other_rules_refuse(name: str) -> None:
    (x, y), true, model = data(), HIDDEN[name][0](), HIDDEN[name][0]()
    torch.manual_seed(1)
    wanted = by_bptt(true, x, y)
    torch.manual_seed(1)
    found = run(learning.online(model, "exact"), x, y)
    assert max(errors({key: found[key] for key in wanted}, wanted).values()) < EXACT


def test_trained_tensors_that_are_no_parameters_are_refused_by_exact_and_learn_under_last_step() -> None:
    (x, y), model = data(steps=1), HIDDEN["a free tau"][0]()
    with pytest.raises(ValueError, match=r"state of the layers depends on a tensor of shape \(5,\) that requires"):
        learning.online(model, "exact").step(x[:, 0])
    by_bptt(model, x, y)
    true, FREE.grad = FREE.grad, None
    run(learning.online(model, "last_step"), x, y)
    assert max(errors({"tau": FREE.grad}, {"tau": true}).values()) < EXACT  # type: ignore[dict-item]
