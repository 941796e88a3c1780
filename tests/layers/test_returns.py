"""Layers that return fields of their state beside their spikes: ``returns=("spikes", "v")``."""

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch import like
from spikingtorch.init import to_rate_
from spikingtorch.testing import assert_close
from tests.every_layer import MAKERS, call, drawn, slopes
from tests.folded_layer import Lambda, One
from tests.test_like import MAKERS as LIKE

N, T, M = 4, 7, 5
LENGTHS = [7, 2, 5, 1]


def neuron(state: Any) -> Any:
    """Return the state of the neuron itself, without what options add."""
    return neuron(state.neuron) if hasattr(state, "neuron") else state


def by_hand(layer: Any, x: Tensor, *names: str) -> list[Tensor]:
    """Return the spikes of a layer that returns these alone, and the fields of its state after each step, stacked."""
    steps = [
        (call(layer, each, t == 0), *[getattr(neuron(layer.state), name) for name in names]) for t, each in enumerate(x)
    ]
    return [torch.stack(each) for each in zip(*steps, strict=True)]


def one(layer: nn.Module, **options: Any) -> st.SpikingNet:
    """Return a network of one layer."""

    return st.SpikingNet(One(layer), warn_silent=False, **options)


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "recurrent": {"recurrent": torch.full((1,), 0.3)},
    "refractory": {"refractory": 2.0},
    "recurrent and refractory": {"recurrent": torch.full((1,), 0.3), "refractory": 1.0},
}


CASES = [
    *[(name, "plain") for name in (*MAKERS, *LIKE)],
    *[(name, each) for name in ("LIF", "CubaLIF") for each in OPTIONS],
]


@pytest.mark.sampled
@pytest.mark.parametrize("mode", ["step", "auto"])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_every_layer(name: str, options: str, mode: Any) -> None:
    make = partial(MAKERS.get(name) or LIKE[name], **copy.deepcopy(OPTIONS[options]))
    plain = make().double()
    state = plain.initial_state(drawn(N, M))
    names = tuple([name for name in neuron(state)._fields if isinstance(getattr(neuron(state), name), Tensor)])
    layer = make(returns=(*names[1:], "spikes", *names[:1])).double()
    x = drawn(T, N, M).requires_grad_()
    spikes, *fields = by_hand(plain, x, *names)
    want = slopes([*fields[1:], spikes, *fields[:1]], x, *plain.parameters())
    model = one(layer, mode=mode)
    found = [out.transpose(0, 1) for out in model(x.transpose(0, 1))]
    assert_close(slopes(found, x, *layer.parameters()), want)
    assert model.explain().mode == ("step" if mode == "step" else "fold")
    assert torch.equal(layer.s, spikes[-1])


class Net(nn.Module):
    """Reads out membranes and currents, and lets a membrane drive the next layer."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.lif = nn.Linear(M, 6), st.LIF(v0=0.3, learnable="tau", returns=("spikes", "v"), **options)
        self.second = nn.Linear(6, 3)
        self.cuba: st.StepLayer = st.CubaLIF(threshold=0.3, returns=("i", "u", "spikes"))
        self.double()

    def forward(self, x: Tensor, init: Any) -> Any:
        spk, mem = self.lif(self.first(x), init)
        i, u, out = self.cuba(self.second(spk - 0.1 * mem), init)
        return {"spikes": spk, "mem": mem, "i": i, "u": u, "out": out}


@pytest.mark.sampled
@pytest.mark.parametrize("given", [{}, {"lengths": LENGTHS}], ids=["once", "lengths"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_records_and_counts(options: dict[str, Any], given: dict[str, Any]) -> None:
    model = st.SpikingNet(Net(**copy.deepcopy(options)), time_chunk=3)
    x = drawn(N, T, M)
    want = model(x, **given)
    recording = st.record(model, x, ("spikes", "v", "i", "u"), **given)
    found = {
        "spikes": recording["lif"]["spikes"],
        "mem": recording["lif"]["v"],
        **{name: recording["cuba"][name] for name in ("i", "u")},
        "out": recording["cuba"]["spikes"],
    }
    assert_close(found, want)
    assert_close(recording.out, want)
    with st.SpikeMonitor(model) as monitor:
        model(x, **given)
    steps = T if not given else sum(LENGTHS) / N
    assert monitor.metrics()["lif/rate"] == pytest.approx((want["spikes"] != 0).sum().item() / (N * steps * 6))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_precision_is_that_of_the_input(dtype: torch.dtype) -> None:
    layer: Any = st.LIF(returns=("spikes", "v", "u", "threshold"))
    x = drawn(N, T, M).to(dtype)
    for mode in ("step", "fold"):
        outs = one(layer, mode=mode)(x)
        assert [out.dtype for out in outs] == [dtype] * 4
        assert torch.equal(outs[1][:, -1], layer.v.to(dtype))
        assert (outs[3] == 1.0).all()


def test_the_membrane_of_snntorch_is_the_one_before_a_delayed_reset() -> None:
    # v = 1.5, which fires; the reset comes a step later: 0.5 * 1.5 - 1 + 0.5
    layer = like.snntorch.Leaky(beta=0.5, returns=("spikes", "v"))
    spk, mem = layer(torch.tensor([[1.5]]), init=True)
    assert (spk.item(), mem.item()) == (1.0, 1.5)
    spk, mem = layer(torch.tensor([[0.5]]))
    assert (spk.item(), mem.item()) == (0.0, 0.25)
    # at once
    spk, mem = st.LIF(decay=0.5, reset=F.by_subtraction, returns=("spikes", "v"))(torch.tensor([[1.5]]), init=True)
    assert (spk.item(), mem.item()) == (1.0, 0.5)


def test_it_can_be_set_later() -> None:
    layer = st.LIF()
    model = one(layer)
    x = drawn(N, T, M).float()
    spikes = model(x)
    layer.returns = ["v", "spikes"]
    assert repr(layer).endswith("returns=('v', 'spikes'))")
    v, again = model(x)
    assert torch.equal(again, spikes)
    assert torch.equal(v[:, -1], layer.v)  # type: ignore[arg-type]
    assert model.explain().mode == "fold"
    layer.returns = "spikes"
    assert torch.equal(model(x), spikes)


def test_a_change_is_seen_where_it_decides_about_the_fold() -> None:
    layer, x = st.LIF(v0=0.3, returns=("spikes", "v")), drawn(N, T, M).float()
    net = One(layer, lambda layer, x, init: x * layer(x, init)[0])
    model = st.SpikingNet(net)
    model(x)
    assert model.explain().mode == "fold"
    layer.returns = "spikes"  # now it takes the first sample
    with pytest.warns(RuntimeWarning, match="runs step by step"):
        found = model(x)
    assert torch.equal(found, st.SpikingNet(net, mode="step")(x))


def test_to_rate_scales_layers_that_return_more() -> None:
    model = st.SpikingNet(Net().float())
    x = drawn(16, 20, M).float()
    assert list(to_rate_(model, x, 0.2)) == ["lif", "cuba"]
    assert model(x)["spikes"].mean().item() == pytest.approx(0.2, rel=0.25)


@pytest.mark.parametrize("recurrent", [None, nn.Linear(M, M, bias=False)], ids=["plain", "recurrent"])
def test_spikes_of_a_step_that_gives_out_a_tuple_are_recorded(recurrent: Any) -> None:
    step: Any = F.Returning(F.lif_step, ("v",))
    model = one(st.StepLayer(step, F.LIFState, decay=0.9, recurrent=recurrent))
    recording = st.record(model, drawn(N, T, M).float(), ("spikes", "v"))
    assert torch.equal(recording["layer"]["spikes"], recording.out[0])
    assert torch.equal(recording["layer"]["v"], recording.out[1])


class Nested(st.StepLayer):
    """Has a state that only its state at rest tells."""

    def rest_state(self, x: Tensor) -> Any:
        return F.RecurrentState(F.IFState(F.lift(x) * 0.0), F.lift(x) * 0.0)


def test_names_of_a_state_of_ones_own_are_checked_at_the_first_step() -> None:
    def step(state: Any, x: Tensor) -> Any:
        after, out = F.if_step(state.neuron, x)
        return F.RecurrentState(after, state.s + out), out

    layer = Nested(step, F.RecurrentState, returns=("s", "v", "spikes"))
    s, v, spikes = layer(torch.full((1, 1), 1.5), True)
    assert (s.item(), v.item(), spikes.item()) == (1.0, 0.0, 1.0)
    layer.returns = ("spikes", "w")
    with pytest.raises(ValueError, match=r"Nested: returns=\('spikes', 'w'\) names 'w', .* it has 'spikes', 'v', 's'$"):
        layer(torch.ones(1, 1), True)


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Linear(M, 3), st.LIF(returns=("spikes", "v")), nn.Linear(3, 2)),
        nn.Sequential(nn.Linear(M, 3), nn.Sequential(st.LIF(returns=("spikes", "v"))), nn.Sequential(st.LIF())),
    ],
    ids=["linear", "nested"],
)
def test_a_tuple_in_the_middle_of_a_sequential(net: nn.Module) -> None:
    with pytest.raises(TypeError, match="SpikingNet: 1 is a LIF with returns=") as error:
        st.SpikingNet(net)
    assert "('spikes', 'v'), and an nn.Sequential hands that tuple to 2, a L" in str(error.value)


def test_a_tuple_at_the_end_of_a_sequential_or_before_ones_own_module() -> None:
    x = drawn(N, T, M).float()
    layers = nn.Linear(M, 3), st.LIF(returns=("spikes", "v"))
    spikes, v = st.SpikingNet(nn.Sequential(*layers))(x)
    model = st.SpikingNet(nn.Sequential(*layers, Lambda(lambda _, both: both[0] + both[1])))
    assert torch.equal(model(x), spikes + v)
    assert model.explain().mode == "fold"
