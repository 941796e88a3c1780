"""Which layers a monitor watches: those whose step jumps, by whatever name and means, and no readout.

Those of the library are in test_monitor.
"""

import random
from collections import namedtuple
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch import like
from spikingtorch.convert import CountMaxPool

pytestmark = pytest.mark.usefixtures("one_thread")

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
