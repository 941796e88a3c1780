"""What a network over time says of itself: explain, repr, and errors of its arguments."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.fold.policy import FoldPolicy
from spikingtorch.quantize import prepare_qat
from tests.fold_nets import network, train
from tests.folded_layer import One
from tests.nets_that_step import Two


def branching(**options: Any) -> st.SpikingNet:
    return st.SpikingNet(Two(lambda net, x, init: 2 * x if init else x).double(), 3, **options)


@pytest.mark.parametrize("mode", ["step", "fold", "auto"])
def test_before_and_after_the_first_call(mode: Any) -> None:
    asked, called = network("linear", mode=mode), network("linear", mode=mode)
    x = train(asked, 3, 5)
    with pytest.raises(ValueError, match=r"SpikingNet: there is nothing to explain before the first.*explain\(x\)"):
        asked.explain()
    found = asked.explain(x)
    assert found == asked.explain()
    assert found.mode == ("step" if mode == "step" else "fold")
    assert (found.reason == "as asked for") == (mode != "auto")
    for model in (asked, called):
        model(x)
        assert model.explain()._replace(products=(), decides="") == found


def test_report_of_a_network_that_folds() -> None:
    model = network("tutorial")
    model(train(model, 3, 5))
    report = model.explain()
    assert report.mode == "fold"
    assert report.reason.startswith("nothing in the network mixes samples or steps")
    shapes = {"sl1": (4, 13, 13), "sl2": (6, 10, 10), "sl3": (10,)}
    assert [(line.path, line.kind, line.shape) for line in report.layers] == [(k, "IF", v) for k, v in shapes.items()]
    assert {line.backend.backend for line in report.layers} <= {"fused", "loop"}
    of_two_inputs = network("BioLIF, tracked").explain(train(network("linear"), 3, 5)).layers
    assert [line.shape for line in of_two_inputs] == [(6,), (3,)]
    lines = str(report).splitlines()
    assert lines[0] == f"fold: {report.reason}"
    assert lines[-1] == "x taken as (N, T, ...): 3 samples of 5 steps"
    rows = [(line.path, line.kind, line.shape, str(line.backend)) for line in report.layers]
    rows += [(line.path, line.kind, line.shape, line.form) for line in report.products]
    assert [row[0] for row in rows] == ["sl1", "sl2", "sl3", "conv1", "conv2", "l1"]
    for (path, kind, shape, form), text in zip(rows, lines[1:-1], strict=True):
        assert text.split()[:3] == [path, kind, "x".join(map(str, shape))]
        assert text.endswith(form)


FOLDS = "nothing in the network mixes samples or steps"
ALTHOUGH = "fold: as asked for; in mode 'auto' it would step because it branches on init"
REASONS: dict[str, tuple[Callable[[], st.SpikingNet], int, str]] = {
    "one step": (lambda: network("linear"), 1, f"fold: {FOLDS}"),
    "a last chunk of one step": (lambda: network("linear", time_chunk=3), 7, f"fold: {FOLDS}"),
    "mode step": (lambda: network("linear", mode="step"), 5, "step: as asked for"),
    "mode fold": (lambda: network("linear", mode="fold"), 5, "fold: as asked for"),
    "branches": (branching, 5, "step: the network branches on init"),
    "branches in mode fold": (lambda: branching(mode="fold"), 5, ALTHOUGH),
}


@pytest.mark.parametrize(("make", "T", "first"), REASONS.values(), ids=REASONS)
def test_reason(make: Callable[[], st.SpikingNet], T: int, first: str) -> None:
    model = make()
    x = train(model, 3, T)
    assert str(model.explain(x)).splitlines()[0] == first
    if model.mode == "auto" and first.startswith("fold"):
        model(x)
        assert str(model.explain()).splitlines()[0] == first


DRAWS = "; random numbers, such as dropout masks, are drawn for each step and sample"
EACH = "; batch norm takes the statistics of each step by itself"
DROPOUT: dict[str, tuple[nn.Module, bool, str]] = {
    "no dropout": (nn.Identity(), True, ""),
    "dropout": (nn.Dropout(0.5), True, DRAWS),
    "dropout in evaluation": (nn.Dropout(0.5), False, ""),
    "dropout of nothing": (nn.Dropout(0.0), True, ""),
    "dropout behind batch norm": (nn.Sequential(nn.BatchNorm1d(6), nn.Dropout(0.5)), True, f"{EACH}{DRAWS}"),
    "batch norm": (nn.BatchNorm1d(6), True, EACH),
    "batch norm in evaluation": (nn.BatchNorm1d(6), False, ""),
    "one mask for a sequence": (st.SequenceDropout(0.5), True, ""),
    "rrelu": (nn.RReLU(), True, DRAWS),
}


@pytest.mark.parametrize("name", DROPOUT)
def test_dropout_is_named_where_something_is_drawn(name: str) -> None:
    between, training, said = DROPOUT[name]
    model = st.SpikingNet(nn.Sequential(nn.Linear(4, 6), between, st.LIF())).train(training)
    mixed = "steps" if "batch norm" in said else "samples or steps"
    before = torch.get_rng_state()
    assert model.explain(torch.ones(3, 5, 4)).reason == f"nothing in the network mixes {mixed}{said}"
    assert torch.equal(torch.get_rng_state(), before)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"mode": "fold", "time_chunk": 4},
    {"mode": "step", "time_chunk": 4, "truncate": True, "carry_graph": True},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_repr(options: dict[str, Any]) -> None:
    text = "".join(f", {name}={value!r}" for name, value in options.items())
    assert repr(branching(**options)).splitlines()[1].strip() == f"Nout=(3,){text}"


@pytest.mark.filterwarnings("ignore:SpikingNet.*step by step:RuntimeWarning")
def test_a_thread_that_asks_about_another_input_in_the_midst_of_a_call_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    net = One(st.LIF(), lambda layer, x, init: layer(x - x.mean(0) if x.dtype == torch.float64 else x, init))
    model, x = st.SpikingNet(net), 4.0 * torch.rand(8, 10, 5, dtype=torch.float64)
    model.explain(x.float())
    want, folds = model(x), FoldPolicy.folds
    other = threading.Thread(target=model.explain, args=(x.float(),))

    def slow(*args: Any) -> bool:
        if not other.ident:
            other.start()
            other.join(0.2)
        return folds(*args)

    monkeypatch.setattr(FoldPolicy, "folds", slow)
    found = model(x)
    other.join()
    assert torch.equal(found, want)
    assert torch.equal(found, st.SpikingNet(net, mode="step")(x))


class Keeps(nn.Module):
    """Keeps all spikes in a list, with their graph; or stops before its layers are reached by a trace."""

    def __init__(self, branches: bool = False) -> None:
        super().__init__()
        self.l1, self.sl1, self.bio = nn.Linear(4, 6), st.LIF(returns=("spikes", "v")), st.BioLIF(0.5)
        self.branches, self.kept = branches, list[Tensor]()

    def forward(self, x: Tensor, init: Any) -> Any:
        if self.branches and init:
            x = 2 * x
        spikes, _ = self.sl1(self.l1(x), init)
        if not self.branches:
            self.kept.append(spikes)
        return self.bio(spikes[:, :3], spikes[:, 3:], init)


@pytest.mark.filterwarnings("ignore:SpikingNet.*step by step:RuntimeWarning")
@pytest.mark.parametrize("mode", ["auto", "step"])
@pytest.mark.parametrize("branches", [False, True], ids=["keeps a list", "branches"])
def test_layers_of_a_network_that_is_not_traced_to_its_end(branches: bool, mode: Any) -> None:
    model = st.SpikingNet(Keeps(branches), 3, mode=mode)
    model(torch.rand(3, 5, 4))
    report = model.explain()
    assert ("branches on init" in report.reason or "keeps kept" in report.reason) == (mode == "auto")
    found = [(line.path, line.kind, line.shape) for line in report.layers]
    assert found == [("sl1", "LIF", (6,)), ("bio", "BioLIF", (3,))]
    assert all("has few neurons and takes one step" in str(line.backend) for line in report.layers)
    model(torch.rand(20_000, 2, 4))
    assert all(line.backend.backend == "fused" for line in model.explain().layers)
    model.reset()
    assert model.explain().layers == ()  # as long as no call has reached them


def test_which_layers_compute_with_whole_numbers() -> None:
    def neurons() -> st.FixedPointIF:
        return st.FixedPointIF(threshold=0.5, fraction_bits=6, membrane_bits=12)

    net: Any = nn.Sequential(nn.Linear(5, 4), neurons(), nn.Linear(4, 3), st.LIF())
    model, x = st.SpikingNet(net), torch.rand(2, 7, 5)
    assert model.explain(x).whole == "neurons of 1, not those of 3"
    prepare_qat(model, weight_bits=4)
    assert model.explain(x).whole == "weights of 0, 2 in 4 bits, neurons of 1, not those of 3"
    net[3] = neurons()
    found = model.explain(x)
    assert found.whole == "weights of 0, 2 in 4 bits, neurons of 1, 3"
    advice = "quantize.to_integer(model, x) says whether the network has integers"
    assert str(found).splitlines()[-2:] == [f"whole numbers: {found.whole}; {advice}", f"x taken as {found.taken}"]
    in_float = st.SpikingNet(nn.Sequential(nn.Linear(5, 4), st.LIF()))
    assert not in_float.explain(x).whole
    assert "whole numbers" not in str(in_float.explain())
    assert prepare_qat(in_float).explain(x).whole == "weights of 0 in 8 bits, not the neurons of 1"
