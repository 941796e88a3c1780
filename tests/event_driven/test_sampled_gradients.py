"""Networks whose spikes have a slope near the threshold alone: gradients of inputs are computed there alone."""

import weakref
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.functional.sparse import kernels
from tests.drawn import trains
from tests.folded_layer import Coded
from tests.nets_that_step import with_backward
from tests.rounding import Change, assert_as_exact, changed
from tests.surroundings import calls_of

pytestmark = pytest.mark.usefixtures("one_thread")
NARROW = F.Triangular(2.0)


class Dense(nn.Module):
    """Two layers of neurons with a linear layer between them, and what ``between`` makes of the spikes before it."""

    def __init__(self, between: Callable[[Tensor], Tensor] | None = None, **options: Any) -> None:
        super().__init__()
        self.l1, self.l2 = nn.Linear(12, 24), nn.Linear(24, 10)
        neuron: dict[str, Any] = {"surrogate": NARROW, "tau": 4.0} | options
        self.s1, self.s2 = st.LIF(**neuron), st.LIF(surrogate=NARROW)
        self.between = between

    def forward(self, x: Tensor, init: Any) -> Any:
        h = self.s1(4 * self.l1(x), init)
        return self.s2(4 * self.l2(h if self.between is None else self.between(h)), init)


class Images(nn.Module):
    """Convolutions on spikes, on pooled spikes and on sequences, and a layer on flattened ones."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2, self.c3 = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1), nn.Conv2d(16, 8, 3)
        self.along, self.out = nn.Conv1d(8, 6, 3), nn.Linear(6 * 45, 10)
        self.neurons = nn.ModuleList([st.LIF(surrogate=F.Strict(NARROW)) for _ in range(5)])

    def forward(self, x: Tensor, init: Any) -> Any:
        n1, n2, n3, n4, n5 = self.neurons
        h = n2(3 * self.c2(n1(3 * self.c1(x), init)), init)
        h = n3(3 * self.c3(nnf.max_pool2d(h, 2)), init).flatten(2)
        h = n4(3 * self.along(h[:, :, :47]), init).flatten(1)
        return n5(3 * nnf.linear(h, self.out.weight, self.out.bias), init)


def seeded(make: Callable[[], nn.Module], event_driven: Any, change: Change = torch.clone, **options: Any) -> Any:
    torch.manual_seed(0)
    return changed(st.SpikingNet(make(), 10, event_driven=event_driven, **options), change)


def gradients(
    make: Callable[[], nn.Module], x: Tensor, event_driven: Any, change: Change = torch.clone, **options: Any
) -> list[Tensor]:
    """Return outputs, and the gradients of the input and of all parameters."""
    model = seeded(make, event_driven, change, **options)
    x = change(x).requires_grad_()
    out = model(x)
    g = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    return [out.detach(), *torch.autograd.grad(out, [x, *model.parameters()], g.to(out.dtype), allow_unused=True)]


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """At which part of the places each gradient was wanted."""

    def part(_: bool, s: Any, events: Any, *others: Any) -> float:
        return events.number / (s.images * s.height * s.width * s.channels)

    return calls_of(monkeypatch, kernels, "sampled_input_gradient", part)


def check(make: Callable[[], nn.Module], x: Tensor, **options: Any) -> None:
    """Assert that gradients are those of dense layers, and not zero."""
    dense = cache(lambda change: gradients(make, x, "off", change, **options))
    got, want = gradients(make, x, "on", **options), dense(torch.clone)
    assert torch.equal(got[0], want[0])
    assert all(each is None or bool(each.any()) for each in want)
    assert_as_exact(got, dense)


SEQUENCE, VIDEO = trains(8, 10, 12, seed=3, rate=0.4), trains(3, 6, 2, 20, 20, seed=3, rate=0.4)


@pytest.mark.parametrize("channels_last", [False, True])
def test_convolutions_pools_and_views(channels_last: bool, wanted: list[float]) -> None:
    """All of these read spikes: of the pool, the part of the windows whose largest number has a slope."""
    x = VIDEO.repeat(2, 1, 1, 1, 1)

    def make() -> nn.Module:
        return Images().to(memory_format=torch.channels_last) if channels_last else Images()  # type: ignore[call-overload]

    check(make, x)
    assert len(wanted) == 3
    assert all(0 < part < 0.6 for part in wanted)


@pytest.mark.sampled
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"learnable": True},
        {"tau": nn.Parameter(torch.linspace(2.0, 6.0, 24))},
        {"reset": F.by_subtraction},
        {"v0": torch.linspace(0.5, 1.5, 24)},
        {"surrogate": F.Triangular(torch.linspace(1.0, 4.0, 24))},
        {"recurrent": torch.linspace(-0.5, 0.5, 24)},
        {"recurrent": nn.Linear(24, 24, bias=False)},
    ],
    ids=["plain", "learnable", "per-neuron", "subtract", "thresholds", "widths", "one-to-one", "recurrent"],
)
def test_neurons(options: dict[str, Any], wanted: list[float]) -> None:
    check(lambda: Dense(**options), SEQUENCE)
    assert len(wanted) == 1


class Mine(F.Triangular):
    """A slope everywhere, in a class that says otherwise."""

    def primitive(self, u: Tensor) -> Tensor:
        return torch.sigmoid(u)


@pytest.mark.sampled
@pytest.mark.parametrize(
    "surrogate",
    [
        *(F.Sigmoid(), F.Strict(F.Sigmoid()), F.Graded(NARROW), F.Ternary(NARROW), F.MultiSpike(NARROW)),
        *(Mine(), lambda u: F.Sigmoid()(u)),
    ],
    ids=["sigmoid", "strict", "graded", "ternary", "several", "mine", "function"],
)
def test_surrogates_without_a_support(surrogate: Any, wanted: list[float]) -> None:
    check(lambda: Dense(surrogate=surrogate), SEQUENCE)
    assert not wanted


def looking(state: Any, x: Tensor, *, surrogate: Any) -> Any:
    """Look at its surrogate."""
    u = 0.75 * state.v + x
    s = surrogate(u - (1.0 if isinstance(surrogate, F.Triangular) else 0.5))
    return F.LIFState(u * (1 - s)), s


def writing(state: Any, x: Tensor, *, surrogate: Any) -> Any:
    """Write on what met the threshold."""
    u = 0.75 * state.v + x
    v, s, _, _ = F.fire(u, 1.0, surrogate, F.by_subtraction)
    u.mul_(0.25)
    return F.LIFState(v), s


def resetting(u: Tensor, spike: Tensor, threshold: Any) -> Tensor:
    """Write on the membrane, as a reset rule."""
    return u.sub_(spike.detach() * threshold)


@pytest.mark.sampled
@pytest.mark.parametrize(
    "neuron",
    [
        lambda: st.StepLayer(looking, F.LIFState, surrogate=NARROW),
        lambda: st.StepLayer(writing, F.LIFState, surrogate=NARROW),
        lambda: st.LIF(surrogate=NARROW, reset=resetting),
        lambda: st.LIF(surrogate=NARROW, reset=F.detached(resetting)),
    ],
    ids=["looking", "writing", "resetting", "detached"],
)
def test_steps_and_rules_of_others(neuron: Callable[[], nn.Module], wanted: list[float]) -> None:
    """They may look at their surrogate, or write on what it was handed: they tell nothing."""

    def make() -> nn.Module:
        net = Dense()
        net.s1 = neuron()  # type: ignore[assignment]
        return net

    check(make, SEQUENCE)
    assert not wanted


@pytest.mark.parametrize(("number", "options"), [(3, {"time_chunk": 4}), (2, {"time_chunk": 5, "truncate": False})])
def test_chunks(number: int, options: dict[str, Any], wanted: list[float]) -> None:
    check(Dense, SEQUENCE, **options)
    assert len(wanted) == number


def test_padded_sequences_are_dense(wanted: list[float]) -> None:
    def padded(how: str, change: Change = torch.clone) -> list[Tensor]:
        model = seeded(Dense, how, change)
        model(change(SEQUENCE), lengths=torch.arange(2, 10)).sum().backward()
        return [parameter.grad for parameter in model.parameters()]

    assert_as_exact(padded("on"), partial(padded, "off"))
    assert not wanted


@pytest.mark.sampled
@pytest.mark.parametrize(
    "between",
    [
        with_backward(lambda g: g / (1 + g.abs().mean(1, keepdim=True))),  # a view, whose gradient looks at all of it
        lambda h: 2 * h,
        lambda h: h.clone().mul_(0.5),
        lambda h: nnf.relu(h),
        lambda h: checkpoint(nnf.relu, h, use_reentrant=False),
        lambda h: h[:, torch.arange(23, -1, -1)],
        lambda h: h.view(-1, 4, 6).transpose(1, 2).flatten(1),
    ],
    ids=["function", "scaled", "written-on", "relu", "checkpoint", "picked", "transposed"],
)
def test_what_is_made_of_spikes_is_dense(between: Any, wanted: list[float]) -> None:
    """Its own gradient may be anything of the whole."""
    check(lambda: Dense(between), SEQUENCE)
    assert not wanted


@pytest.mark.parametrize(
    "between",
    [lambda h: h.view(-1, 4, 6).flatten(1), lambda h: h.unflatten(1, (4, 6)).reshape(-1, 24), lambda h: h.clone()],
    ids=["view", "reshape", "copy"],
)
def test_spikes_in_other_axes(between: Any, wanted: list[float]) -> None:
    check(lambda: Dense(between), SEQUENCE)
    assert len(wanted) == 1


def test_others_that_read_the_same_spikes(wanted: list[float]) -> None:
    """Their gradients are added to those that were wanted."""

    class Net(Dense):
        def forward(self, x: Tensor, init: Any) -> Any:
            h = self.s1(4 * self.l1(x), init)
            return self.s2(4 * self.l2(h) + nnf.linear(h, self.l2.weight.flip(0)) + h[:, :10], init)

    check(Net, SEQUENCE)
    assert len(wanted) == 2


def test_hidden_spikes_that_are_returned(wanted: list[float]) -> None:
    """The gradient of what a network returns is that of the loss alone, with other layers behind it or not."""

    class Net(Dense):
        def forward(self, x: Tensor, init: Any) -> Any:
            h = self.s1(4 * self.l1(x), init)
            return self.s2(4 * self.l2(h), init), h

    found = []
    for how in ("on", "off"):
        torch.manual_seed(0)
        out, hidden = st.SpikingNet(Net(), event_driven=how)(SEQUENCE)
        loss = (out * torch.linspace(-1, 1, 10)).sum() + hidden.square().sum()
        found.append(torch.autograd.grad(loss, [hidden, out]))
    assert all(map(torch.equal, *found))
    assert not wanted


@pytest.mark.parametrize("options", [{"mode": "fold"}, {"mode": "step"}, {"hooks": "sequence"}], ids=str)
def test_where_somebody_may_look(options: dict[str, Any], wanted: list[float]) -> None:
    """Nothing is left out where no proof has seen to it that nobody asks for the gradient of the spikes."""
    kept: list[Tensor] = []

    class Net(Dense):
        def forward(self, x: Tensor, init: Any) -> Any:
            h = self.s1(4 * self.l1(x), init)
            if options.get("mode") == "fold":
                h.retain_grad()
                kept.append(h)
            return self.s2(4 * self.l2(h), init)

    check(Net, SEQUENCE, **options)
    assert not wanted
    assert all(bool((h.grad != 0).all()) for h in kept if h.grad is not None)


def test_second_derivatives() -> None:
    def both(how: str, change: Change = torch.clone) -> list[Tensor]:
        model, x = seeded(Dense, how, change), change(SEQUENCE).requires_grad_()
        (first,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        return [first.detach(), *torch.autograd.grad(first.square().sum(), [*model.parameters()], allow_unused=True)]

    assert_as_exact(both("on"), partial(both, "off"))


def test_a_second_pass_over_the_same_graph(wanted: list[float]) -> None:
    torch.manual_seed(0)
    model = st.SpikingNet(Dense(), 10, event_driven="on")
    x = SEQUENCE.clone().requires_grad_()
    out = model(x)
    one, other = (torch.autograd.grad(out.sum(), x, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(one, other)
    assert len(wanted) == 2


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite(value: float) -> None:
    """What is infinite meets slopes of zero, as in dense layers."""

    def net() -> nn.Module:
        parts = {"l1": nn.Linear(12, 24), "l2": nn.Linear(24, 10), "s1": st.LIF(surrogate=NARROW)}
        with torch.no_grad():
            parts["l2"].get_parameter("weight")[3, 5] = value
        return Coded(lambda net, x, init: net.l2(net.s1(4 * net.l1(x), init)), **parts)

    got = gradients(net, SEQUENCE, "on")
    assert got[1].isnan().any()
    assert_as_exact(got, partial(gradients, net, SEQUENCE, "off"))


def test_a_gradient_that_overflows_at_the_edge() -> None:
    """The slope there is zero, as a number that infinity is multiplied by."""

    linear = nn.Linear(4, 2, bias=False)
    nn.init.constant_(linear.weight, 1e20)
    net = Coded(lambda net, x, init: net.l(net.s1(x, init)), s1=st.IF(surrogate=F.Triangular(2.0)), l=linear)
    x = torch.tensor([0.5, 1.5, 0.25, 1.0]).expand(3, 2, 4).clone()
    found = []
    for how in ("on", "off"):
        leaf = x.clone().requires_grad_()
        out = st.SpikingNet(net, 2, event_driven=how)(leaf)
        found.append(torch.autograd.grad(out, leaf, torch.full_like(out, 1e24))[0])
    assert found[0].isnan().any()
    torch.testing.assert_close(*found, equal_nan=True)


def test_nothing_outlives_a_call() -> None:
    model = st.SpikingNet(Dense(), 10, event_driven="on")
    out = model(SEQUENCE)
    output = weakref.ref(out)
    del out
    assert output() is None


def test_explain_says_so() -> None:
    model = st.SpikingNet(Dense(), 10, event_driven="on")
    model(SEQUENCE)
    first, second = model.explain().products
    assert first.wanted is None
    assert second.wanted is not None
    assert 0 < second.wanted < 0.5
    assert f"gradient of {second.wanted:.2g} of them, where spikes have a slope" in str(model.explain())
    with torch.no_grad():
        model(SEQUENCE)
    assert [line.wanted for line in model.explain().products] == [None, None]


def test_by_default_where_it_is_faster(wanted: list[float]) -> None:
    parts = {"l1": nn.Linear(16, 128), "l2": nn.Linear(128, 512), "s1": st.LIF(surrogate=F.Triangular(8.0))}
    net = Coded(lambda net, x, init: net.s2(net.l2(net.s1(net.l1(x), init)), init), s2=st.LIF(), **parts)
    for batch, number in ((20, 0), (40, 1)):
        model = st.SpikingNet(net, warn_silent=False)
        model(trains(batch, 30, 16, seed=3, rate=0.4)).sum().backward()
        assert len(wanted) == number
