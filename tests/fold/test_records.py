"""Networks that keep a record by themselves, or read layer.v: they step, and the first warning says what to do."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st

OUTSIDE: list[Tensor] = []
X = 2.0 * torch.rand(3, 5, 4, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Does something with its spikes."""

    def __init__(self, use: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.lif = nn.Linear(4, 3), st.LIF(v0=0.3)
        self.rates: Any = []
        self.by_name: dict[str, Tensor] = {}
        self.use = use

    def forward(self, x: Tensor, init: Any) -> Any:
        spikes = self.lif(self.linear(x), init)
        return self.use(self, spikes)


def appends(net: Net, spikes: Tensor) -> Tensor:
    net.rates.append(spikes)
    return spikes


def appends_detached(net: Net, spikes: Tensor) -> Tensor:
    net.rates.append(spikes.detach())
    return spikes


def appends_outside(net: Net, spikes: Tensor) -> Tensor:
    OUTSIDE.append(spikes)
    return spikes


def keeps_the_last(net: Net, spikes: Tensor) -> Tensor:
    net.rates = spikes
    return spikes


def keeps_by_name(net: Net, spikes: Tensor) -> Tensor:
    net.by_name["lif"] = spikes
    return spikes


def adds_up(net: Net, spikes: Tensor) -> Tensor:
    net.rates = spikes.detach() if isinstance(net.rates, list) else net.rates + spikes.detach()
    return spikes


def reads_v(net: Net, spikes: Tensor) -> Any:
    return spikes, net.lif.v


def reads_s(net: Net, spikes: Tensor) -> Any:
    return net.lif.s


def reads_state(net: Net, spikes: Tensor) -> Any:
    return spikes, net.lif.state.v


RECORD = r"return it as a part of the output, or leave it to spikingtorch\.record\(model, x\)"
CASES: dict[str, tuple[Callable[[Any, Tensor], Any], str]] = {
    "list": (appends, RECORD),
    "list of detached": (appends_detached, RECORD),
    "list outside": (appends_outside, RECORD),
    "attribute": (keeps_the_last, RECORD),
    "dict": (keeps_by_name, RECORD),
    "sum": (adds_up, RECORD),
    "v": (reads_v, r"make the layer with returns=\('spikes', 'v'\), or leave it to .*record\(model, x, 'v'\)"),
    "s": (reads_s, r"take what the layer returns, or leave it to spikingtorch\.record\(model, x\)"),
    "state": (reads_state, "let the step of the layer compute it, and give it out: returns= names fields of its state"),
}


@pytest.mark.parametrize(("use", "remedy"), CASES.values(), ids=CASES)
def test_the_first_warning_says_what_to_do(use: Any, remedy: str) -> None:
    model = st.SpikingNet(Net(use))
    with pytest.warns(RuntimeWarning, match=remedy):
        found = model(X)
    torch.testing.assert_close(found, st.SpikingNet(Net(use), mode="step")(X))
    for _ in range(2):  # it warns once, and is right
        torch.testing.assert_close(model(X), found)
    assert model.explain().mode == "step"
    assert "deepcopy" not in model.explain().reason


@pytest.mark.filterwarnings("ignore:SpikingNet. Sequential runs step by step:RuntimeWarning")
def test_what_is_kept_with_its_graph_is_named() -> None:
    model = st.SpikingNet(nn.Sequential(Net(appends)))
    for _ in range(2):
        model(X)
    kept = "the network keeps 0.rates, tensors with their graph, after a call: a record of its own"
    assert model.explain().reason == kept


def test_what_is_set_up_at_the_first_call_alone_is_no_record() -> None:
    def sets_up(net: Net, spikes: Tensor) -> Tensor:
        if isinstance(net.rates, list):
            net.rates = torch.ones(spikes.shape[1:])
        out: Tensor = spikes * net.rates
        return out

    model = st.SpikingNet(Net(sets_up))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = model(X)
        assert torch.equal(model(X), found)
    assert model.explain().mode == "fold"


def test_the_cure_folds() -> None:
    class Cured(Net):
        def __init__(self) -> None:
            super().__init__(appends)
            self.lif.returns = ("spikes", "v")

        def forward(self, x: Tensor, init: Any) -> Any:
            return self.lif(self.linear(x), init)

    model, stepping = st.SpikingNet(Cured()), st.SpikingNet(Net(reads_v), mode="step")
    torch.testing.assert_close(model(X), stepping(X))
    assert model.explain().mode == "fold"
