"""The table of ``summary``: its rows, rates, bytes and text, and what it refuses; ``test_counting`` has its counts.

And which layers a monitor watches: those whose step jumps, by whatever name and means, and no readout. Those of the
library are in test_monitor.
"""

import random
from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch import like
from spikingtorch.convert import CountMaxPool
from spikingtorch.quantize import prepare_qat, remove_qat
from tests.drawn import uniform
from tests.folded_layer import Coded

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_table() -> None:
    net = nn.Sequential(nn.Linear(20, 30), st.LIF(), nn.Linear(30, 10), nn.BatchNorm1d(10), st.LI())
    model, x = st.SpikingNet(net), torch.ones(4, 6, 20)
    found = st.summary(model, x)
    first = found.rows[0]
    assert (first.name, first.kind, first.shape, first.parameters) == ("0", "Linear", (30,), 630)
    assert [row.kind for row in found.rows] == ["Linear", "LIF", "Linear", "BatchNorm1d", "LI"]
    lines = str(found).splitlines()
    assert len({len(line.rstrip()) for line in lines[1:2]}) == 1
    assert "Not counted" in lines[-1]
    assert model.explain(x).mode == "fold"


def test_the_text_shows_additions_and_multiply_adds() -> None:
    torch.manual_seed(0)
    model = st.SpikingNet(nn.Sequential(nn.Linear(20, 30), st.LIF(v0=0.05), nn.Linear(30, 10), st.LI()))
    found = st.summary(model, uniform(3, 4, 20))
    head, _, first, *_, last, _, weights, note, ann, _ = str(found).splitlines()
    assert weights == "Weights: 3,760 bytes; rounded ones take their bits."
    assert head.split()[5:] == ["dense", "ACs", "MACs", "energy"]
    assert first.split()[4:] == ["2.4k", "0", "2.4k", f"{4.6 * 2.4:.3g}", "nJ"]
    assert last.split()[2] == "3.6k"
    assert "ACs) at 0.9 pJ" in note
    assert "MACs) at 4.6 pJ" in note
    assert f"the spiking network takes {found.energy / found.energy_of_ann:.2g} times as much" in ann
    dear = st.summary(model, uniform(3, 4, 20), addition=2.0, mac=10.0)
    assert dear.energy == pytest.approx(1e-3 * (2.0 * found.acs + 10.0 * found.macs))


def test_functionals_and_one_dimension() -> None:
    net = Coded(
        lambda net, x, init: net.l1(nnf.avg_pool1d(torch.conv1d(x, weight=net.kernel), 2), init),
        **{"kernel": nn.Parameter(torch.ones(3, 2, 2)), "l1": st.IF()},
    )
    x = torch.zeros(1, 2, 2, 5)
    x[0, 0, 0, 0] = x[0, 1, 1, 2] = 1.0
    rows = {row.name: row for row in st.summary(st.SpikingNet(net), x).rows}
    assert rows["(network)"].acs == 3 * (1 + 2)
    assert rows["(network)"].dense == 2 * 4 * 2 * 2 * 3
    assert rows["(average pooling)"].dense == 2 * 3 * 4


def test_rates_are_of_what_spikes() -> None:
    """A leaky integrator has levels, and no rate; a layer that never fires has one of zero."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), st.LIF(v0=0.1), nn.Linear(3, 3), st.LIF(v0=1e9), st.LI())
    model, x = st.SpikingNet(net), 5 * torch.rand(2, 9, 4)
    rows = {row.name: row for row in st.summary(model, x).rows}
    assert rows["1"].rate == pytest.approx(st.record(model, x)["1"]["spikes"].mean().item())
    assert rows["1"].rate
    assert rows["3"].rate == 0.0
    fires: Any = net[3]
    fires.threshold = 0.0
    rows = {row.name: row for row in st.summary(model, x).rows}
    assert rows["4"].rate is None


def test_bytes_of_rounded_weights_are_their_bits() -> None:
    """Weights take their bits; biases and learned parameters of neurons those of float, and scales none."""
    recurrent = nn.Linear(5, 5, bias=False)
    shared = nn.Linear(5, 5)
    net = nn.Sequential(nn.Linear(7, 5), st.LIF(recurrent=recurrent), shared, st.LIF(learnable="tau"), shared, st.LIF())
    model, x = st.SpikingNet(net), torch.rand(2, 6, 7)
    in_float = st.summary(model, x)
    assert in_float.weight_bytes == 4 * in_float.parameters == 4 * (7 * 5 + 5 + 25 + 25 + 5 + 1)
    assert f"Weights: {in_float.weight_bytes:,} bytes;" in str(in_float)
    assert st.summary(model.double(), x.double()).weight_bytes == 8 * in_float.parameters
    choices: list[Any] = [{}, {"per_channel": True}, {"scale": "learned"}, {"per_channel": True, "scale": "learned"}]
    for options in choices:
        rounded = prepare_qat(model.float(), weight_bits=3, **options)
        found = st.summary(rounded, x)
        bits = {"0": 3 * 35 + 7, "1": 3 * 25 + 5, "2": 3 * 25 + 5}  # up to whole bytes
        assert {row.name: row.weight_bytes for row in found.rows if row.weight_bytes} == {
            "0": bits["0"] // 8 + 4 * 5,
            "1": bits["1"] // 8,
            "2": bits["2"] // 8 + 4 * 5,
            "3": 4,
        }, options
        assert [(row.name, row.dense) for row in found.rows] == [(row.name, row.dense) for row in in_float.rows]
        model = remove_qat(rounded)
    assert st.summary(model, x).weight_bytes == in_float.weight_bytes


def test_refusals() -> None:
    model = st.SpikingNet(nn.Sequential(nn.Linear(5, 6), st.LIF()))
    wrong: list[tuple[Any, Any, type[Exception], str]] = [
        (model, torch.zeros(0, 4, 5), ValueError, r"summary: x has shape \(0, 4, 5\), which holds no samples"),
        (model, torch.zeros(()), ValueError, r"summary: x .*\(N, T, \.\.\.\)"),
        (model, np.zeros((3, 4, 5)), TypeError, r"summary: x is a ndarray, .*torch.from_numpy"),
        (model.net, torch.zeros(3, 4, 5), TypeError, "expected a SpikingNet"),
    ]
    for given, x, kind, message in wrong:
        with pytest.raises(kind, match=message):
            st.summary(given, x)


State = namedtuple("State", ["v", "a"])


def adaptive_step(state: State, x: Tensor, *, decay: Any, rise: float, surrogate: Any = F.Sigmoid()) -> Any:
    u = decay * state.v + x
    spike = surrogate(u - 1.0 - state.a)
    return State((1 - spike) * u, decay * state.a + rise * spike), spike


def compared_step(state: State, x: Tensor) -> Any:
    u = state.v + x
    spike = (u >= 1.0).to(x.dtype)
    return State(u - spike, state.a), spike


def rounded_step(state: State, x: Tensor) -> Any:
    u = state.v + x
    return State(u - u.floor(), state.a), u.floor()


def written_step(state: State, x: Tensor) -> Any:
    """Write spikes over a part of the membrane, by a view."""
    u = state.v + x
    out = u.clone()
    out[..., : u.shape[-1]] = (u >= 1.0).to(x.dtype)
    return State(u, state.a), out


def counted_step(state: State, x: Tensor, *, surrogate: Any = None) -> Any:
    """Count its calls and draw by Python, as nothing that is run on the side may."""
    CALLS.append(random.random())
    return state, x


CALLS: list[float] = []


def analogue_step(state: State, x: Tensor, *, decay: Any, drop: float = 0.5) -> Any:
    """Advance a readout with noise, a bound, and a count of its steps in whole numbers."""
    kept = (torch.rand_like(x) > drop).to(x.dtype)
    v = decay * state.v + torch.relu(x) * kept
    return State(v.clamp(min=-1.0), state.a + 1), torch.where(state.a.long() > 2, v, 2 * v)


class Counting(st.StepLayer):
    def rest_state(self, x: Tensor) -> Any:
        v = torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32))  # in which steps compute
        return State(v, torch.zeros_like(x, dtype=torch.int64))


FIRING: dict[str, Any] = {
    "a default of the step": lambda: st.StepLayer(adaptive_step, State, decay=torch.full((3, 1), 0.9), rise=0.5),
    "a comparison": lambda: st.StepLayer(compared_step, State),
    "rounding": lambda: st.StepLayer(rounded_step, State),
    "written in place": lambda: st.StepLayer(written_step, State),
    "snntorch": lambda: like.snntorch.Leaky(0.9),
    "spikingjelly": lambda: like.spikingjelly.LIFNode(2.0),
    "spikes behind numbers": lambda: like.spikingjelly.LIAFNode(torch.relu, True),
    "sinabs": lambda: like.sinabs.LIF(5.0),
    "norse": lambda: like.norse.LIFCell(),
    "a value after the reset": lambda: like.norse.LIFCell(like.norse.LIFParameters(v_reset=0.1)),
    "a step that cannot be run on the side": lambda: st.StepLayer(counted_step, State),
}
SMOOTH: dict[str, Any] = {
    "noise and counts": lambda: Counting(analogue_step, State, decay=0.9, learnable=True),
    "sinabs": lambda: like.sinabs.ExpLeak(5.0, min_v_mem=-1.0),
    "norse": lambda: like.norse.LICell(),
    "norse, without currents": lambda: like.norse.LIBoxCell(),
    "pooling": lambda: CountMaxPool(nn.MaxPool2d(2)),
    "pooling, 1": lambda: CountMaxPool(nn.MaxPool1d(2)),
    "dropout": lambda: st.SequenceDropout(0.5),
}


def is_watched(layer: st.StepLayer, dtype: torch.dtype = torch.float32) -> bool:
    model = st.SpikingNet(nn.Sequential(layer).to(dtype), mode="step", warn_silent=False)
    with st.SpikeMonitor(model) as monitor:
        model(torch.ones(2, 2, 3, 4, dtype=dtype))
    return monitor.metrics() != {}


@pytest.mark.parametrize("name", FIRING)
def test_what_fires(name: str) -> None:
    assert is_watched(FIRING[name]())


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_what_does_not_fire(name: str, dtype: torch.dtype) -> None:
    assert not is_watched(SMOOTH[name](), dtype)


def test_nothing_moves() -> None:
    layer = Counting(analogue_step, State, decay=0.9, learnable=True)
    before, calls = torch.get_rng_state(), len(CALLS)
    for each in (layer, FIRING["a step that cannot be run on the side"]()):
        model = st.SpikingNet(nn.Sequential(each))
        st.SpikeMonitor(model)
        assert model.get_state() == {}
    assert torch.equal(torch.get_rng_state(), before)
    assert len(CALLS) == calls
