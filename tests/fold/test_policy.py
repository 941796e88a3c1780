"""What a model remembers of a network, also of one that keeps records, what it leaves as it was, and what it says."""

import gc
import re
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.testing import assert_close
from tests.fold.corpus.inits import homeostasis_no_grad, learned
from tests.nets_that_step import Hole, Own, Two, centred, train

pytestmark = [
    pytest.mark.filterwarnings("ignore:SpikingNet.*step by step:RuntimeWarning"),
    pytest.mark.usefixtures("one_thread"),
]


def in_modes(net: nn.Module) -> tuple[Any, Any]:
    """Return a network over time in mode "auto", and step by step; both hold the same modules."""
    return st.SpikingNet(net, 3, warn_silent=False), st.SpikingNet(net, 3, mode="step", warn_silent=False)


def texts(call: Callable[[], object]) -> list[str]:
    """Return what a call warns of."""
    with warnings.catch_warnings(record=True, action="always") as caught:
        call()
    return [str(warning.message) for warning in caught]


def test_state_of_its_own_in_inference_mode() -> None:
    nets: list[Any] = [Two(homeostasis_no_grad, sl2=learned()).double() for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    models: list[Any] = [st.SpikingNet(nets[0], 3), st.SpikingNet(nets[1], 3, mode="step")]
    with torch.inference_mode():
        found, want = ([model(train()).clone(), model(train()).clone(), model.net.sl2.v0] for model in models)
    assert_close(found, want)
    assert models[0].explain(train()).mode == "step"  # out of it, where nothing is known from inside


# --- memory that is shared --------------------------------------------------------------------------------------------


def halved_then_failure(net: Any, x: Tensor, init: Any) -> Tensor:
    x = x.mul_(0.5)
    if x.shape[0] > 16:
        raise ValueError("at most 16 samples")
    return x


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "time first": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "one image for all steps": lambda x: x[:, :1].clone().expand(-1, 7, -1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("code", [lambda net, x, init: x.mul_(0.5), halved_then_failure])
def test_writes_on_its_input(code: Hole, layout: str) -> None:
    auto, step = in_modes(Two(code).double())
    given, left = (LAYOUTS[layout](2 * train()) for _ in range(2))
    (warned,) = texts(lambda: assert_close(auto(given), step(left)))
    assert re.search(r"writes on its input in place", warned)
    assert_close(given, left)


# --- what is said about it --------------------------------------------------------------------------------------------


def few(net: Any, x: Tensor, init: Any) -> Tensor:
    assert x.shape[0] <= 20, f"{tuple(x.shape)}"
    return net.sl1(x.flatten(1)[:, :3], init)


def test_warns_once_in_training_and_evaluation_and_for_inputs_of_several_sizes() -> None:
    model, images = st.SpikingNet(Two(lambda net, x, init: centred(x)).double(), 3), st.SpikingNet(Own(few), 3)
    found = texts(lambda: [model.train(training)(train()) for training in (True, False, True, False)])
    assert len(found) == 1, found
    found = texts(lambda: [images(torch.rand(5, 7, size, size)) for size in (4, 6, 8)])
    assert len(found) == 1, found


def test_eight_refusals_in_training_leave_evaluation_alone() -> None:
    model, _ = in_modes(Two(lambda net, x, init: centred(x) if net.training else x, temperature=1.0).double())
    for epoch in range(9):
        model.net.temperature = 0.9**epoch
        model(train())
    assert model.eval().explain(train()).mode == "fold", model.explain().reason


def test_a_number_that_decides_costs_a_proof_now_and_then() -> None:
    net: Any = Two(lambda net, x, init: centred(x) if net.epoch > 12 else x * net.temperature, temperature=1.0)
    auto, step = in_modes(net.double())
    modes: list[str] = []

    def runs(*epochs: int) -> None:
        for epoch in epochs:
            net.epoch, net.temperature = epoch, 0.9**epoch
            assert_close(auto(train()), step(train()))
            modes.append(auto.explain().mode)

    (warned,) = texts(lambda: runs(*range(20)))
    assert re.search(r"changes between calls \(epoch\).*keep epoch in a tensor, with register_buffer", warned)
    assert modes[:8] == ["fold"] * 8
    assert "step" in modes[8:12]
    runs(3, 3)  # it stays, and the next call is worth a proof
    assert modes[-1] == "fold"


class Options:
    def __init__(self, gain: float) -> None:
        self.gain = gain


def test_an_object_that_is_another_one_at_each_call_steps_and_is_told() -> None:
    net: Any = Two(lambda net, x, init: x * net.options.gain).double()
    model, step = in_modes(net)

    def runs() -> None:
        for call in range(10):
            net.options = Options(0.9**call)
            assert_close(model(train()), step(train()))

    (warned,) = texts(runs)
    assert re.search(r"changes between calls \(options.*leave it as it is between calls", warned)


# --- what it leaves alone ---------------------------------------------------------------------------------------------


def test_functional_call_with_computed_weights() -> None:
    """As a step of MAML: the weights are no leaves, and such tensors cannot be copied."""
    model = st.SpikingNet(Two().double(), 3)
    weights = {name: 0.9 * weight for name, weight in model.named_parameters()}
    torch.func.functional_call(model, weights, (train(),))
    model(train())
    assert model.explain().mode == "fold", model.explain().reason


def test_the_first_call_of_a_network_that_steps_is_not_kept_alive() -> None:
    """What was found out about it is an error, whose frames would hold inputs, outputs and graph of the call."""
    model, x = st.SpikingNet(Two(lambda net, h, init: centred(h)), 3), train().float()
    gc.collect()
    gc.disable()
    try:
        alive = weakref.ref(model(x)), weakref.ref(x)
        del x
        assert [each() for each in alive] == [None, None]
    finally:
        gc.enable()


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
    return spikes * net.rates


def test_what_is_set_up_at_the_first_call_alone_is_no_record_and_the_cure_folds() -> None:
    model = st.SpikingNet(Net(sets_up))
    cure = st.SpikingNet(nn.Sequential(Net(lambda net, spikes: spikes).linear, st.LIF(v0=0.3, returns=("spikes", "v"))))
    with warnings.catch_warnings(action="error"):
        found = model(X)
        assert torch.equal(model(X), found)
        torch.testing.assert_close(cure(X), st.SpikingNet(Net(CASES["v"][0]), mode="step")(X))
    assert model.explain().mode == cure.explain().mode == "fold"
