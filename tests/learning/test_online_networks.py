"""Networks for online rules: in each, a rule is back-propagation through time, or is refused in words."""

from collections import namedtuple
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

import spikingtorch as st
from spikingtorch import learning
from tests.folded_layer import Coded, Lambda
from tests.learning.online_nets import (
    CONSTANT,
    EXACT,
    HIDDEN,
    NEURONS,
    assert_bptt,
    by_bptt,
    data,
    errors,
    gradients,
    louder,
    network,
    online_gradients,
)

STEPS = 8


def chain(*between: nn.Module, linear: Callable[..., nn.Module] = nn.Linear, neurons: Any = None) -> nn.Sequential:
    return nn.Sequential(linear(4, 5), *between, neurons or st.LIF(tau=4.0), nn.Linear(5, 3))


def stack(*between: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), st.LIF(tau=4.0), *between, st.LIF(tau=4.0), nn.Linear(5, 3))


def normed(module: Any, wrap: Any = parametrizations.weight_norm) -> Any:
    wrap(module[0])
    return module


class Masked(nn.Linear):
    """A linear layer with another product."""

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input, self.weight * (self.weight > 0), self.bias)


def hooked(hook: Callable[..., Any]) -> nn.Module:
    net = chain()
    net[0].register_forward_hook(hook)
    return net


def watched() -> nn.Module:
    net = chain()
    next(net.parameters()).register_post_accumulate_grad_hook(lambda _: None)
    return net


def top_down(name: str) -> nn.Module:
    """Return a network that reads what a layer remembers of the step before."""

    def code(net: Any, x: Tensor, init: Any) -> Any:
        z, before = net.w(x), getattr(net.n, name)
        before = getattr(before, "v", before)
        return net.r(net.n(z if before is None or init is True else z + net.back(before), init))

    return Coded(code, w=nn.Linear(4, 5), back=nn.Linear(5, 5), n=st.LIF(tau=4.0), r=nn.Linear(5, 3))


def branches(net: Any, x: Tensor, init: Any) -> Any:
    """Let two layers share a product."""
    z = net.w(x)
    return net.r(net.a(z, init) + net.b(z, init))


def reparametrized(index: int, name: str, function: Callable[[Tensor], Tensor], neuron: str = "LIF") -> Any:
    net: Any = network(NEURONS[neuron]).net
    parametrize.register_parametrization(net[index], name, Lambda(lambda _, raw: function(raw)), unsafe=True)
    return net


class Local(nn.Module):
    """Two layers that hand detached spikes on, and a readout of each."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(3, 3)
        self.below, self.above = st.LIF(tau=4.0), st.ALIF(tau=4.0)

    def forward(self, x: Tensor, init: bool) -> Any:
        s = self.below(self.first(x), init)
        return s, self.above(self.second(s.detach()), init)


class Shared(Local):
    """One weight for two layers: of two modules, or of one that is called twice."""

    def __init__(self, *, calls: bool) -> None:
        super().__init__()
        self.start, self.calls = nn.Linear(4, 3).requires_grad_(calls), calls
        if not calls:
            self.first = nn.Linear(3, 3)
            self.first.weight = self.second.weight

    def forward(self, x: Tensor, init: bool) -> Any:
        s = self.below((self.second if self.calls else self.first)(self.start(x)), init)
        return self.above(self.second(s), init)


# one membrane
OwnState = namedtuple("OwnState", ["v"])


def own_step(state: OwnState, x: Tensor, *, decay: Tensor | float) -> tuple[OwnState, Tensor]:
    u = decay * state.v + x.tanh()
    return OwnState(u * u.sigmoid()), u


def mixing_step(state: OwnState, x: Tensor, *, decay: Tensor | float) -> tuple[OwnState, Tensor]:
    return own_step(state, x.roll(1, -1), decay=decay)


def of_step(step: Any) -> Any:
    return chain(neurons=st.StepLayer(step, OwnState, decay=0.8, learnable="decay"))


def of_complex_states() -> nn.Module:
    _, layer, _ = net = of_step(own_step)
    layer.rest_state = lambda x: OwnState(0j * x)
    return nn.Sequential(net[0], nn.Sequential(layer, Lambda(lambda _, x: torch.real(x))), net[2])


def delayed() -> nn.Module:
    net: Any = network(NEURONS["LIF, detached subtraction"]).net
    first, lif, last = net
    return nn.Sequential(first, lif, st.Delay(2.0), nn.Linear(HIDDEN, HIDDEN), st.LIF(tau=4.0, reset=CONSTANT), last)


def adds_activity() -> Any:
    net: Any = network(NEURONS["LIF"]).net
    net[1].track_act = True
    return net


OTHER = r"0.weight, 0.bias reach layer \d \(LIF\) in another way"
READS = r"asks a LIF for its .{} within a step.*would be lost"
HOOK = r"0.weight has a hook for when its gradient has accumulated"
PRODUCT = {"diagonal": OTHER, "presynaptic": OTHER}
CASES: dict[str, tuple[Callable[[], Any], tuple[str, ...], dict[str, str]]] = {
    # the network, the rules that are exact for it, and the messages of those that are refused
    "relu in place": (lambda: chain(nn.ReLU(inplace=True)), ("exact",), PRODUCT),
    "written on": (lambda: chain(Lambda(lambda _, x: x.mul_(2.0))), ("exact",), PRODUCT),
    "masked": (lambda: chain(linear=Masked), ("exact",), PRODUCT),
    "hooked": (lambda: hooked(lambda _, given, out: 2.0 * out), ("exact",), PRODUCT),
    "looked at": (lambda: hooked(lambda _, given, out: None), ("diagonal",), {}),
    "watched": (watched, (), {"exact": HOOK, "diagonal": HOOK}),
    "clamped": (
        lambda: chain(Lambda(lambda _, x: x.register_hook(lambda g: g.clamp(-1, 1)) and x if x.requires_grad else x)),
        (),
        {"exact": "a backward pass is not linear in its gradient"},
    ),
    "complex": (of_complex_states, (), {"exact": r"1\.0\.v is complex, and rule='exact' takes floats"}),
    "a norm between": (lambda: chain(nn.BatchNorm1d(5)), (), {"diagonal": "0.weight, 0.bias, 1.weight, 1.bias reach"}),
    "a norm of states": (lambda: stack(nn.Linear(6, 5, bias=False), nn.BatchNorm1d(5)), ("exact",), {}),
    "dropout": (lambda: stack(nn.Dropout(0.3), nn.Linear(6, 5)), ("exact",), {}),
    "a generator": (
        lambda: chain(neurons=st.StochasticLIF(tau=4.0, generator=torch.Generator())),
        ("exact",),
        {"diagonal": "StochasticLIF.* has a forward of its own"},
    ),
    "without a state": (lambda: chain(neurons=st.McPitts(threshold=0.5)), ("exact",), {}),
    "weight norm": (lambda: normed(chain()), ("exact", "diagonal"), {}),
    "through tanh": (lambda: reparametrized(0, "weight", lambda raw: 2.0 * raw.tanh()), ("exact", "diagonal"), {}),
    "neurons that mix": (
        lambda: reparametrized(1, "tau", lambda raw: 20.0 * raw.softmax(-1), "LIF, each its tau"),
        (),
        {"diagonal": r"each neuron of layer 1 \(.*LIF\) depends on all entries of .*tau.original"},
    ),
    "asks for s": (lambda: top_down("s"), (), dict.fromkeys(("diagonal", "last_step", "exact"), READS.format("s"))),
    **{
        f"asks for {name}": (
            partial(top_down, name),
            ("exact",),
            dict.fromkeys(("diagonal", "last_step"), READS.format(name)),
        )
        for name in ("v", "state")
    },
    "branches": (
        lambda: Coded(branches, w=nn.Linear(4, 5), a=st.LIF(tau=4.0), b=st.ALIF(tau=3.0), r=nn.Linear(5, 3)),
        ("exact", "diagonal"),
        {},
    ),
    "a weight of two modules": (lambda: Shared(calls=False), ("exact",), {}),
    "called twice": (
        lambda: Shared(calls=True),
        (),
        {"diagonal": r"second.weight, .* reach layer below \(LIF\) in another way"},
    ),
    "sums its outputs": (adds_activity, ("diagonal",), {}),
    "a step of one's own": (lambda: of_step(own_step), ("diagonal",), {}),
    "a mixing step": (lambda: of_step(mixing_step), ("exact",), {"diagonal": r"layer 1 \(StepLayer\) mixes neurons"}),
    "delays": (
        delayed,
        ("exact",),
        dict.fromkeys(("diagonal", "presynaptic", "last_step"), r"layer 2 delays its input.*rule='exact'"),
    ),
}


def reseeded(model: st.SpikingNet, work: Callable[[], Any]) -> Any:
    """Do something with the same random numbers each time."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, st.StochasticLIF) and module.generator is not None:
            module.generator.manual_seed(3)
    return work()


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("name", CASES)
def test_a_rule_is_exact_or_refused(name: str) -> None:
    make, exact, refused = CASES[name]
    torch.manual_seed(0)
    model, (x, y) = louder(make()), data(steps=STEPS)
    for rule, message in refused.items():
        with pytest.raises(ValueError, match=message):
            online_gradients(learning.online(model, rule), x, y)  # type: ignore[arg-type]
    for rule in exact:
        true = reseeded(model, partial(by_bptt, model, x, y))
        learner = learning.online(model, rule)  # type: ignore[arg-type]
        found = reseeded(model, partial(online_gradients, learner, x, y))
        assert max(errors(found, true).values()) < EXACT, rule


def test_local_losses_are_exact_in_every_layer() -> None:
    torch.manual_seed(0)
    model, (x, y) = louder(Local()), data()
    first, second = model(x)
    ((first - y).square().sum() + (second - y).square().sum()).backward()
    true, learner = gradients(model), learning.online(model, "diagonal")
    for t in range(x.shape[1]):
        for out in learner.step(x[:, t]):  # the losses of one step add up
            learner.backward((out - y[:, t]).square().sum())
    assert max(errors(gradients(model), true).values()) < EXACT
    assert all(each.exact for each in learner.explain().layers)


def test_a_weight_of_two_modules_has_the_traces_of_both_in_its_first_step() -> None:
    model, (x, y) = louder(Shared(calls=False)), data()
    assert_bptt(model, "diagonal", x[:, :1], y[:, :1])


# --- convolutions and norms -------------------------------------------------------------------------------------------

CONVOLUTIONS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "1d, strided": (lambda: nn.Conv1d(2, 4, 3, stride=2, padding=1), (2, 7)),
    "2d, same": (lambda: nn.Conv2d(2, 4, 3, padding="same"), (2, 5, 4)),
    "2d, groups": (lambda: nn.Conv2d(2, 4, (3, 2), padding=(1, 0), groups=2), (2, 4, 4)),
    "2d, dilated and circular": (lambda: nn.Conv2d(2, 4, 2, dilation=2, padding=1, padding_mode="circular"), (2, 4, 4)),
    "2d, without bias": (lambda: nn.Conv2d(2, 4, 1, bias=False), (2, 3, 3)),
    "3d": (lambda: nn.Conv3d(1, 2, 2), (1, 3, 3, 2)),
}


@pytest.mark.sampled
@pytest.mark.parametrize("rule", ["exact", "diagonal", "presynaptic"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_are_exact_in_one_layer(name: str, rule: str) -> None:
    make, shape = CONVOLUTIONS[name]
    torch.manual_seed(0)
    (x, y), module = data(*shape, steps=6), make()
    size = module(x[:, 0].float())[0].numel()
    lif = st.LIF(tau=4.0, reset=CONSTANT)
    assert_bptt(louder(nn.Sequential(module, lif, nn.Flatten(), nn.Linear(size, 3))), rule, x, y)


@pytest.mark.sampled
@pytest.mark.parametrize("rule", ["diagonal", "presynaptic"])
def test_convolutional_recurrent_weights_have_traces(rule: Any) -> None:
    """Both rules agree; the spikes that come back are left out in both."""
    torch.manual_seed(0)
    back = nn.Conv2d(2, 2, 3, padding="same", bias=False)
    lif = st.LIF(tau=4.0, reset=CONSTANT, recurrent=back)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), lif, nn.Flatten(), nn.Linear(8, 3))
    model, (x, y) = louder(net), data(1, 4, 4, steps=8)
    true, learner = by_bptt(model, x, y), learning.online(model, rule)
    found = errors(online_gradients(learner, x, y), true)
    assert found["net.3.weight"] < EXACT
    assert 0.0 < found["net.1.recurrent.weight"] < 1.0
    assert "the past through recurrent spikes" in str(learner.explain())


@pytest.mark.sampled
@pytest.mark.parametrize("rule", ["exact", "last_step"])
def test_batch_norm_counts_each_step_once(rule: Any) -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(5)
    nn.init.constant_(norm.weight, 2.0)
    model, (x, y) = st.SpikingNet(chain(norm), mode="step").double(), data()
    true, mean = by_bptt(model, x, y), norm.running_mean.clone()  # type: ignore[union-attr]
    norm.reset_running_stats()
    found = online_gradients(learning.online(model, rule), x, y)
    assert int(norm.num_batches_tracked) == x.shape[1]  # type: ignore[arg-type]
    torch.testing.assert_close(norm.running_mean, mean)
    if rule == "exact":
        del true["net.0.bias"], found["net.0.bias"]  # the norm takes it off again
        assert max(errors(found, true).values()) < EXACT
