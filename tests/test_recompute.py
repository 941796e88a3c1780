"""Networks whose chunks run again in the backward pass, beside networks that keep everything.

What a caller may change between a call and its backward pass stands in ``test_recompute_between.py``.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import spikingtorch as st
from examples import memory
from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from tests.folded_layer import Coded, Lambda
from tests.functional.test_recompute import INSIDE, numbers

T, N, FEATURES = 11, 4, 5
pytestmark = [pytest.mark.sampled, pytest.mark.filterwarnings("ignore:SpikingNet.* runs step by step:RuntimeWarning")]


def counts(own: Any, x: Tensor) -> Tensor:
    """Scale the input by a buffer that changes at each step: the second run has to find it as it was."""
    own.seen = own.seen + 0.25
    return x * x * own.seen


def counting() -> nn.Module:
    return Lambda(counts, seen=nn.Buffer(torch.ones(1)))


def leaves(net: Any, x: Tensor, init: Any) -> Any:
    """Leave the summed spikes of a layer, and a tensor with its graph, for the loss."""
    h = net.l1(x).abs()
    net.loss = net.loss + h.square().mean()
    return net.n1(h, 0.1 * h, init)


def around(*middle: Any) -> Callable[[], nn.Module]:
    """Return what makes Linear, the modules, LIF, Linear, LI."""

    def make() -> nn.Module:
        inside = [each() for each in middle]
        return nn.Sequential(
            nn.Linear(FEATURES, 6, bias=False), *inside, st.LIF(tau=3.0, threshold=0.3), nn.Linear(6, 2), st.LI(2.0)
        )

    return make


# what is random, changes or is kept apart; networks that only compute are those of tests/contract
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "plain": around(),
    "dropout": around(lambda: nn.Dropout(0.4)),
    "batch norm": around(lambda: nn.BatchNorm1d(6), lambda: nn.Dropout(0.2)),
    "batch norm, averaged": around(lambda: nn.BatchNorm1d(6, momentum=None)),
    "stochastic": around(lambda: st.StochasticLIF(tau=3.0, threshold=0.3)),
    "a generator": around(lambda: st.StochasticLIF(3.0, 0.3, generator=torch.Generator().manual_seed(3))),
    "spectral norm": around(lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(6, 6))),
    "counts": around(counting),
}
STEPPING = ("counts", "spectral norm", "stochastic", "a generator")
MODES = [
    (mode, name) for mode in ("auto", "step", "fold") for name in NETWORKS if mode != "fold" or name not in STEPPING
]


def of(make: Callable[[], nn.Module], **options: Any) -> tuple[st.SpikingNet, Tensor]:
    """Return a network, the same one each time, and an input."""
    torch.manual_seed(0)
    model = st.SpikingNet(make().double(), **{"warn_silent": False, "time_chunk": 3} | options)
    return model, numbers(1, N, T, FEATURES).requires_grad_()


def agree(act: Callable[[bool], Any]) -> None:
    """Check that an act with recompute=True returns what it returns without."""
    assert_close(act(True), act(False))


def slopes(out: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """Return the gradients of random numbers times the output; none of them is zero everywhere."""
    found = torch.autograd.grad((out * numbers(9, *out.shape)).sum(), leaves)
    assert all(bool(each.any()) for each in found), "a gradient is zero"
    return [*found]


def results(name: str, **options: Any) -> Any:
    """Return outputs, states, gradients and buffers of two parts of a stream, and what is drawn afterwards."""
    model, x = of(NETWORKS[name], **options)
    x = (2 * x.detach()).requires_grad_()
    torch.manual_seed(7)
    out = model(x)
    state = model.get_state()
    model.eval()
    found = slopes(out, [x, *model.parameters()])
    assert not any(module.training for module in model.modules())
    assert_close(model.get_state(), state)
    more = model.train()(x.detach()[:, :2], init=False)
    return out, state, found, dict(model.named_buffers()), more, torch.rand(3)


@pytest.mark.parametrize(("mode", "name"), MODES)
def test_is_as_the_network_that_keeps_everything(mode: Any, name: str) -> None:
    for chunk in (3, 1):
        agree(lambda again, chunk=chunk: results(name, mode=mode, time_chunk=chunk, recompute=again))  # type: ignore[misc]
    if name not in ("dropout", "batch norm", "stochastic", "a generator"):  # whose masks depend on the chunks
        options: Any = {"time_chunk": "auto", "recompute": True}
        assert_close(results(name, mode=mode, **options), results(name, mode=mode, time_chunk=None))


@pytest.mark.parametrize("mode", ["auto", "step"])
def test_what_leaves_a_network_besides_its_output_has_its_gradient_and_counts_once(mode: Any) -> None:
    def act(again: bool) -> Any:
        bio: Any = partial(st.BioLIF, 0.4, v0=0.1, track_act=True)
        make = lambda: Coded(leaves, loss=0.0, l1=nn.Linear(FEATURES, 6), n1=bio())  # noqa: E731
        model, x = of(make, mode=mode, recompute=again)
        net: Any = model.net
        with st.SpikeMonitor(model) as monitor:
            recording = st.record(model, x, ("spikes", "u", "v"))
            extra = net.n1.act.sum() + net.loss
            total = (recording["n1"]["v"] * numbers(2, N, T, 6)).sum() + extra + recording.out.sum()
            found = torch.autograd.grad(total, [x, *model.parameters()])
            return found, [torch.tensor(each) for each in monitor.metrics().values()]

    agree(act)


def test_half_precision_by_autocast() -> None:
    def act(again: bool) -> Any:
        model, x = of(NETWORKS["batch norm"], recompute=again)
        model, x = model.float(), x.detach().float().requires_grad_()
        torch.manual_seed(3)
        with torch.autocast("cpu", torch.bfloat16):
            out = model(x)
        return out, *torch.autograd.grad((out * numbers(2, N, T, 2)).sum(), [x, *model.parameters()])

    assert all(map(torch.equal, act(True), act(False)))


@pytest.mark.parametrize("event_driven", ["auto", "on"])
def test_layers_that_skip_zeros(event_driven: Any) -> None:
    def act(again: bool) -> Any:
        torch.manual_seed(0)
        lif = st.LIF(threshold=0.3), st.LIF(surrogate=F.Triangular())
        net = nn.Sequential(nn.Linear(256, 256), lif[0], nn.Linear(256, 256), lif[1], nn.Linear(256, 256))
        model = st.SpikingNet(net, time_chunk=64, recompute=again, event_driven=event_driven)
        x = (numbers(1, 16, 150, 256) < 0.02).float().requires_grad_()
        found: list[Tensor] = []
        for _ in range(3):
            out = model(x)
            found = [out, *torch.autograd.grad((out * numbers(2, *out.shape).float()).sum(), [x, *model.parameters()])]
        return found, str(model.explain())

    (got, told), (want, plainly) = act(True), act(False)
    assert told == plainly
    assert "event-driven" in told
    assert all(map(torch.equal, got, want))


def test_other_weights_for_one_call() -> None:
    """``functional_call`` and ``run`` give a network other weights, which are gone in the backward pass."""

    def act(again: bool) -> Any:
        model, x = of(NETWORKS["batch norm"], recompute=again)
        params = {name: (0.5 * each.detach()).requires_grad_() for name, each in model.named_parameters()}
        torch.manual_seed(3)
        state, buffers, out = st.run(model, None, x, params=params)
        return state, buffers, slopes(out, [*params.values()]), dict(model.named_buffers())

    agree(act)


# --- memory -----------------------------------------------------------------------------------------------------------


def peak(model: st.SpikingNet, x: Tensor) -> float:
    """Return the most bytes of tensors that a call and its backward pass have at a time."""

    def act() -> None:
        model(x).sum(1).square().mean().backward()

    act()
    return 1e6 * memory.peak(act)


@pytest.mark.parametrize("mode", ["auto", pytest.param("step", marks=pytest.mark.long)])
def test_memory_is_that_of_the_borders_and_one_chunk(mode: Any) -> None:
    samples, steps, size, width = 8, 256, 16, 64

    def model(**options: Any) -> st.SpikingNet:
        torch.manual_seed(0)
        layers = [[nn.Linear(width, width), st.LIF(threshold=0.3)] for _ in range(3)]
        return st.SpikingNet(
            nn.Sequential(*[each for pair in layers for each in pair], nn.Linear(width, 1)), mode=mode, **options
        )

    x = (numbers(1, samples, steps, width) < 0.3).float()
    # v and the last spikes of each layer, and the outputs of chunks and of the call
    borders = (steps // size - 1) * 3 * 2 * samples * width * 4 + 3 * samples * steps * 4
    chunk, whole = peak(model(), x[:, :size]), peak(model(), x)
    found = peak(model(time_chunk=size, recompute=True), x)
    assert found <= 1.1 * (borders + chunk)
    assert found < whole / 3


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Dynamo does not know how to trace")
@pytest.mark.parametrize(("call", "what"), INSIDE)
def test_where_nothing_runs_again(call: Any, what: str) -> None:
    model, x = of(NETWORKS["plain"], recompute=True)
    message = f"recompute=True does not work inside {what}.*Set model.recompute = False there"
    with pytest.raises(Exception, match=message):
        call(lambda x: model(x).sum(), x.detach())


@pytest.mark.long
def test_without_gradients_it_changes_nothing() -> None:
    model, x = of(NETWORKS["plain"], recompute=True)
    twin = copy.deepcopy(model)
    twin.recompute, twin.time_chunk = False, None
    with torch.no_grad():
        assert torch.equal(model(x), twin(x))
        assert_close(torch.func.vmap(model, randomness="different")(x[None]), twin(x)[None])
        assert_close(torch.compile(model, backend="eager", fullgraph=True)(x), twin(x))
    assert repr(model).startswith("SpikingNet(\n  Nout=(2,), time_chunk=3, recompute=True\n")


GLOBAL: dict[str, int] = {}


def moving(state: F.LIFState, x: Tensor) -> tuple[F.LIFState, Tensor]:
    """A LIF neuron whose spikes change places, which no state shows."""
    GLOBAL["count"] += 1
    state, s = F.lif_step(state, x, decay=0.5, threshold=0.3)
    return state, s.roll(GLOBAL["count"], -1)


class Resting(st.LIF):
    """Rests where a global variable says."""

    def rest_state(self, x: Tensor) -> F.LIFState:
        return F.LIFState(torch.full_like(x, 0.1 * GLOBAL["count"]))


class Starting(nn.ModuleList):  # anew where a global variable says
    def forward(self, x: Tensor, init: Any) -> Any:
        GLOBAL["count"] += 1
        return self[0](x, init or GLOBAL["count"] % 5 == 0)


def with_rest(layer: Any) -> Any:
    vars(layer)["rest_state"] = partial(Resting.rest_state, layer)
    return layer


class Kinds(st.LIF):
    """Takes a surrogate of another kind, with the same number."""

    def step_params(self) -> dict[str, Any]:
        return {**super().step_params(), "surrogate": (F.Sigmoid, F.Arctan)[GLOBAL["count"] % 2](2.0)}


by_global: Any = torch.compiler.disable(lambda u, s, threshold: u - s * threshold * GLOBAL["count"])
UNSEEN: dict[str, Callable[[], Any]] = {  # what no argument of a step of this library shows
    "spikes that change places": lambda: st.StepLayer(moving, F.LIFState),
    "where a sequence starts": lambda: Starting([st.LIF(threshold=0.3)]),
    "a reset rule inside a function of torch": lambda: st.LIF(threshold=0.3, reset=by_global),
    "rest of a class": lambda: parametrize.register_parametrization(Resting(learnable="tau"), "tau", nn.Identity()),
    "rest of an object": lambda: with_rest(st.LIF()),
    "the kind of a surrogate": lambda: Kinds(threshold=0.3),
}


def test_what_reaches_a_layer_by_other_ways_is_an_error() -> None:
    for make in UNSEEN.values():
        model, x = of(around(), recompute=True, mode="step")
        net: Any = model.net
        net[1], GLOBAL["count"] = make().double(), 1
        out, GLOBAL["count"] = model(x), 2
        with pytest.raises(RuntimeError, match=r"of 1\S* .* are not those of the first run"):
            out.sum().backward()
