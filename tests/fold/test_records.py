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
    """Does something with its spikes; what is no tensor is not returned."""

    def __init__(self, use: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.lif = nn.Linear(4, 3), st.LIF(v0=0.3)
        self.rates: Any = []
        self.by_name: dict[str, Tensor] = {}
        self.use = use

    def forward(self, x: Tensor, init: Any) -> Any:
        spikes = self.lif(self.linear(x), init)
        found = self.use(self, spikes)
        return spikes if found is None else found


def adds_up(net: Net, spikes: Tensor) -> None:
    net.rates = spikes.detach() if isinstance(net.rates, list) else net.rates + spikes.detach()


RECORD = r"return it as a part of the output, or leave it to spikingtorch\.record\(model, x\)"
OF_V = r"make the layer with returns=\('spikes', 'v'\), or leave it to .*record\(model, x, 'v'\)"
OF_S = r"take what the layer returns, or leave it to spikingtorch\.record\(model, x\)"
OF_STATE = "let the step of the layer compute it, and give it out: returns= names fields of its state"
CASES: dict[str, tuple[Callable[[Any, Tensor], Any], str]] = {
    "list": (lambda net, spikes: net.rates.append(spikes), RECORD),
    "list of detached": (lambda net, spikes: net.rates.append(spikes.detach()), RECORD),
    "list outside": (lambda net, spikes: OUTSIDE.append(spikes), RECORD),
    "attribute": (lambda net, spikes: setattr(net, "rates", spikes), RECORD),
    "dict": (lambda net, spikes: net.by_name.update(lif=spikes), RECORD),
    "sum": (adds_up, RECORD),
    "v": (lambda net, spikes: (spikes, net.lif.v), OF_V),
    "s": (lambda net, spikes: net.lif.s, OF_S),
    "state": (lambda net, spikes: (spikes, net.lif.state.v), OF_STATE),
}


@pytest.mark.parametrize(("use", "remedy"), CASES.values(), ids=CASES)
def test_the_first_warning_says_what_to_do(use: Any, remedy: str) -> None:
    model = st.SpikingNet(Net(use))
    with pytest.warns(RuntimeWarning, match=remedy):
        found = model(X)
    torch.testing.assert_close(found, st.SpikingNet(Net(use), mode="step")(X))
    torch.testing.assert_close(model(X), found)  # it warns once, and is right
    assert model.explain().mode == "step"
    assert "deepcopy" not in model.explain().reason


@pytest.mark.filterwarnings("ignore:SpikingNet. Sequential runs step by step:RuntimeWarning")
def test_what_is_kept_with_its_graph_is_named() -> None:
    model = st.SpikingNet(nn.Sequential(Net(CASES["list"][0])))
    for _ in range(2):
        model(X)
    kept = "the network keeps 0.rates, tensors with their graph, after a call: a record of its own"
    assert model.explain().reason == kept


def sets_up(net: Net, spikes: Tensor) -> Tensor:
    if isinstance(net.rates, list):
        net.rates = torch.ones(spikes.shape[1:])
    out: Tensor = spikes * net.rates
    return out


def test_what_is_set_up_at_the_first_call_alone_is_no_record_and_the_cure_folds() -> None:
    model = st.SpikingNet(Net(sets_up))
    cure = st.SpikingNet(nn.Sequential(Net(lambda net, spikes: spikes).linear, st.LIF(v0=0.3, returns=("spikes", "v"))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = model(X)
        assert torch.equal(model(X), found)
        torch.testing.assert_close(cure(X), st.SpikingNet(Net(CASES["v"][0]), mode="step")(X))
    assert model.explain().mode == cure.explain().mode == "fold"
