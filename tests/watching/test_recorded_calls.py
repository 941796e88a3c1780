"""Records of calls that fail or overlap, of half precision, and of steps of the user's own."""

import threading
import time
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import spikingtorch as st
from spikingtorch import functional as F
from tests.folded_layer import draw, over_time
from tests.nets_that_step import Two
from tests.watching.networks import UP_TO, Breaks
from tests.watching.recorded import ALL, FIRING

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def x() -> Tensor:
    return 2 * torch.rand(3, 20, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_a_fold_that_fails_is_recorded_once(x: Tensor) -> None:
    net = nn.Sequential(nn.Linear(6, 8), st.ALIF(tau=4.0), Breaks(40), st.LI()).double()
    model = st.SpikingNet(net, fold_rules=UP_TO)
    assert model.explain(x).mode == "fold"
    with torch.no_grad(), pytest.warns(RuntimeWarning, match="runs step by step"):
        recording = st.record(model, x, "v", limit=2 * 3 * 20 * 8 * 8)  # bytes, and not those of the fold on top
    assert recording["1"]["v"].shape == (3, 20, 8)


def test_records_are_of_the_call_that_asks() -> None:
    """Another thread's call that runs when somebody asks for records, and the records of two threads at once."""
    inside, go_on = threading.Event(), threading.Event()

    class Waits(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not go_on.is_set() and threading.current_thread() is first:
                inside.set()
                go_on.wait(10)
            return x

    found: dict[str, torch.Size] = {}

    def ask(name: str) -> None:
        found[name] = st.record(model, torch.ones(2, 3, 4), name)["1"][name].shape

    model = st.SpikingNet(nn.Sequential(Waits(), st.LIF()), mode="fold", warn_silent=False)
    first = threading.Thread(target=model, args=(torch.ones(2, 3, 4),))
    asking = [threading.Thread(target=ask, args=(name,)) for name in ("spikes", "v")]
    first.start()
    assert inside.wait(10)
    for thread in asking:
        thread.start()
    time.sleep(0.2)
    go_on.set()
    for thread in (first, *asking):
        thread.join()
    assert found == {"spikes": (2, 3, 4), "v": (2, 3, 4)}


@pytest.mark.parametrize("lengths", [None, [20, 7, 1]], ids=str)
def test_records_of_half_precision(lengths: Any) -> None:
    x, found = torch.rand(3, 20, 4, generator=torch.Generator().manual_seed(0)).bfloat16(), []
    mode: Any
    for mode in ("auto", "step"):
        model = st.SpikingNet(nn.Sequential(st.LIF(v0=0.3)).bfloat16(), mode=mode)
        found.append(dict(st.record(model, x, ALL, lengths=lengths)["0"]))
    assert {name: record.dtype for name, record in found[0].items()} == dict.fromkeys(ALL, torch.bfloat16)
    assert all(torch.equal(found[0][name], found[1][name]) for name in ALL)


def test_steps_of_your_own() -> None:
    def fires(state: F.LIFState, x: Tensor, *, threshold: Any, surrogate: Any) -> Any:
        v, out, _, _ = F.fire(0.5 * state.v + x, threshold, surrogate, F.to_zero)
        return F.LIFState(v), out

    def hides(state: F.LIFState, x: Tensor) -> Any:
        u = 0.5 * state.v + x
        s = (u >= 1.0).to(u.dtype)
        return F.LIFState(u * (1 - s)), s

    xs, rest = torch.rand(9, 5), F.LIFState(torch.zeros(5))
    params = {"threshold": 0.6, "surrogate": F.Strict(F.Arctan())}
    step: Any = F.recorded(fires, "u", "threshold")
    spikes, records = F.scan(step, rest, xs, params=params)[1]
    assert torch.equal(spikes > 0, records["u"] > records["threshold"])
    assert records["threshold"].unique().tolist() == [pytest.approx(0.6)]
    hidden: Any = F.recorded(hides, "u")
    with pytest.raises(ValueError, match=r"hides has no state 'u'; it has v\. .*functional\.fire"):
        F.scan(hidden, rest, xs)
    with pytest.raises(TypeError, match=r"expected names of records"):
        F.recorded(hides)


@pytest.mark.sampled
@pytest.mark.parametrize("mode", ["step", "fold"])
def test_records_have_memory_of_their_own(layer: st.StepLayer, mode: Any) -> None:
    """Neither another record, nor what the layer gives out or goes on from: whoever has one may write on it."""
    x, model = draw(0), over_time(layer, mode=mode)
    with torch.no_grad():
        model(x)
        fields = [name for name, value in layer.state._asdict().items() if isinstance(value, Tensor)]
        records = ("spikes", *fields, *(ALL[2:] if layer.step in FIRING else ()))
        recording = st.record(model, x, records)
        assert recording["layer"].keys() == {*records}
    found = [recording.out, *recording["layer"].values(), *pytree.tree_leaves(layer.state)]
    places = [each.untyped_storage().data_ptr() for each in found if isinstance(each, Tensor) and each.numel()]
    assert len({*places}) == len(places)


@pytest.mark.parametrize("call", [st.record, st.summary, lambda model, x: model(x)], ids=["record", "summary", "call"])
def test_a_warning_points_at_the_line_that_has_called_the_library(call: Any) -> None:
    model = st.SpikingNet(Two(lambda net, x, init: 2 * x if x.sum() > 0 else x), 3)
    with pytest.warns(RuntimeWarning, match="step by step") as caught:
        call(model, torch.rand(2, 9, 4))
    assert [each.filename for each in caught] == [__file__]
