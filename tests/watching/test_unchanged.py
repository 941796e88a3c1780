"""What only looks leaves everything as it was: the network, its stream, random numbers, and what its code keeps."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.plot import overview
from spikingtorch.report import report
from tests.drawn import uniform

pytestmark = pytest.mark.usefixtures("one_thread")
CALLS: list[str] = []
FAILS: list[type[BaseException]] = []  # what the next call raises
GENERATOR = torch.Generator()
NUMBER = 0
PLAIN = (bool, int, float, str, Tensor, type(None))


class Net(nn.Module):
    """Keeps all that a network can keep: in attributes, buffers, lists, generators, variables, and in a graph."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm, self.drop = nn.Linear(6, 8), nn.BatchNorm1d(8, momentum=None), nn.Dropout(0.3)
        self.l1, self.l2 = st.LIF(v0=0.3, learnable=True), st.LIF(v0=0.2, recurrent=nn.Linear(4, 4, bias=False))
        self.normed = nn.utils.parametrizations.spectral_norm(nn.Linear(8, 4))
        self.register_buffer("seen", torch.zeros(()))
        self.calls, self.rates = 0, [0.0]
        self.kept: dict[str, list[Tensor]] = {"outputs": []}
        self.generator = torch.Generator().manual_seed(1)

    def forward(self, x: Tensor, init: Any) -> Tensor:
        global NUMBER
        NUMBER += 1
        CALLS.append("forward")
        self.calls += 1
        self.get_buffer("seen").add_(1)
        noise = torch.rand(x.shape, generator=self.generator) + torch.rand(x.shape, generator=GENERATOR)
        noise = noise + torch.rand(x.shape) + random.random()
        h = self.l1(self.drop(self.norm(self.linear(x + 0.1 * noise + 0.1 * np.random.rand()))), init)
        self.rates.append(float(h.detach().mean()))
        out: Tensor = self.l2(self.normed(h), init)
        self.kept["outputs"].append(out)
        if FAILS:
            raise FAILS[0]("now")
        return out


def everything(model: Any, notes: bool = True) -> list[Any]:
    """Return all that a look could change, as values, and what the model has noted about its network."""
    net, (_, numbers, *place) = model.net, np.random.get_state(legacy=True)
    found: list[Any] = [torch.get_rng_state(), random.getstate(), numbers, place]
    found += [net.generator.get_state(), GENERATOR.get_state()]
    found += [each.detach().clone() for each in (*net.parameters(), *net.buffers())]
    found += [each._version for each in (*net.parameters(), *net.buffers())]
    found += [(each.grad is None, each.requires_grad) for each in net.parameters()]
    found += [net.calls, [*net.rates], [each.detach().clone() for each in net.kept["outputs"]], [*CALLS], NUMBER]
    found += [each.training for each in model.modules()]
    found += [sorted(model.get_state()), *model.get_state().values(), *HOOKED]
    ours = [each for each in vars(model).values() if hasattr(each, "__dict__")] if notes else []
    found += [[item for item in sorted(vars(each).items()) if isinstance(item[1], PLAIN)] for each in (model, *ours)]
    for module in model.modules():
        found += [(name, type(value), id(value)) for name, value in sorted(vars(module).items()) if name != "seen"]
        found += [dict(value) for name, value in vars(module).items() if name.endswith("_hooks")]
    return found


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return bool((one == other).all())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


HOOKED: list[int] = []


def noting(module: nn.Module, args: Any, out: Tensor) -> None:
    HOOKED.append(out.numel())


class Stop(BaseException):
    """An interruption, as Ctrl-C is one."""


@pytest.fixture
def model() -> Iterator[st.SpikingNet]:
    torch.manual_seed(0)
    CALLS.clear()
    HOOKED.clear()
    model = st.SpikingNet(Net(), mode="step")
    for k in range(3):
        model(uniform(5, 4, 6, seed=k))
    with torch.no_grad():
        model.net.get_parameter("l1.tau").fill_(-1.0)  # the next call puts it back
    model.net.get_submodule("norm").register_forward_hook(noting)
    yield model
    FAILS.clear()


def page(model: Any, x: Tensor, folder: Path) -> None:
    report(model, [x], folder / "page.html")


LOOKS: dict[str, Callable[[Any, Tensor, Path], Any]] = {
    "summary": lambda model, x, _: st.summary(model, x),
    "overview": lambda model, x, _: overview(model, x),
    "report": page,
}


@pytest.mark.sampled
@pytest.mark.parametrize("error", [None, ValueError, Stop])
@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.filterwarnings("ignore:.*ran on the Python loop")
def test_nothing_changes(look: str, error: Any, model: st.SpikingNet, tmp_path: Path) -> None:
    x = uniform(3, 7, 6, seed=9)
    given, explained, before = x.clone(), str(model.explain()), everything(model)
    FAILS.extend([error] * (error is not None))
    with st.SpikeMonitor(model) as monitor:
        if error is None:
            LOOKS[look](model, x, tmp_path)
        else:
            with pytest.raises(error, match="now"):
                LOOKS[look](model, x, tmp_path)
        assert monitor.metrics() == {}
    FAILS.clear()
    changed = [pair for pair in zip(before, everything(model), strict=True) if not same(*pair)]
    assert changed == []
    assert torch.equal(x, given)
    assert str(model.explain()) == explained


def test_explain_changes_nothing_but_what_the_model_has_noted(model: st.SpikingNet) -> None:
    model.mode = "auto"  # so that it is proven
    before = everything(model, notes=False)
    model.explain(uniform(3, 7, 6, seed=9))
    assert all(map(same, before, everything(model, notes=False)))


def test_a_first_layer_that_writes_on_its_input() -> None:
    model = st.SpikingNet(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 4), st.LIF()), mode="step")
    x = uniform(3, 4, 6) - 0.5
    for look in (st.summary, overview):
        given = x.clone()
        look(model, x)
        assert torch.equal(x, given)


def test_a_network_that_is_not_complete_stays_so() -> None:
    model = st.SpikingNet(nn.Sequential(nn.LazyLinear(8), st.LIF()))
    state = torch.get_rng_state()
    found = st.summary(model, uniform(3, 4, 6))
    assert found.rows[0].parameters == 6 * 8 + 8
    assert isinstance(model.net.get_parameter("0.weight"), nn.parameter.UninitializedParameter)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.Nout is None


def test_a_look_in_inference_mode_folds() -> None:
    torch.manual_seed(0)
    model, x = st.SpikingNet(nn.Sequential(nn.Conv1d(2, 4, 3), st.LIF(v0=0.3))), uniform(3, 4, 2, 6)
    want = st.summary(model, x)
    with torch.inference_mode():  # in which a network that steps would warn
        assert st.summary(model, x) == want
        overview(model, x)
    model(x).sum().backward()


def test_what_cannot_be_copied_is_named() -> None:
    model = st.SpikingNet(nn.Sequential(nn.Linear(6, 4), st.LIF()))
    vars(model.net)["lines"] = (line for line in "abc")
    for look in (st.summary, overview):
        with pytest.raises(TypeError, match=rf"{look.__name__}: the network cannot be copied \(TypeError: .*generator"):
            look(model, uniform(3, 4, 6))


def test_it_says_once_that_a_network_steps() -> None:
    model, x = st.SpikingNet(nn.Sequential(nn.Linear(6, 4), st.LIF())), uniform(3, 4, 6)
    model.net.get_submodule("0").register_forward_hook(noting)
    with pytest.warns(RuntimeWarning, match="runs step by step"):
        st.summary(model, x)
    with pytest.warns(RuntimeWarning, match="runs step by step"):
        model(x)
    st.summary(model, x)
    overview(model, x)
