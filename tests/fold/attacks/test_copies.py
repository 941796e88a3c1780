"""What a copy of a network is not, what errors of single samples do, and code that is installed or looks like it."""

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import spikingtorch as st
from tests.fold.attacks.holes import case, mixing_if, readout
from tests.nets_that_step import Two, centred, differences, run, train

pytestmark = pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning")

KNOWN: list[Any] = []
BY_PART: dict[Any, bool] = {}
BY_IDENTITY: dict[int, bool] = {}


@pytest.fixture(autouse=True)
def _as_before() -> Any:
    yield
    KNOWN.clear()
    BY_PART.clear()
    BY_IDENTITY.clear()


def knows_itself(net: Any) -> bool:
    return any(each is net for each in KNOWN)


def knows_its_weight(net: Any) -> bool:
    return any(each is net.l1.weight for each in KNOWN)


def found_by_weight(net: Any) -> bool:
    return BY_PART.get(net.l1.weight, False)


def found_by_identity(net: Any) -> bool:
    return BY_IDENTITY.get(id(net), False)


def noted(net: Two, part: Any) -> Two:
    """Return a network, a part of which is kept outside of it."""
    KNOWN.append(part)
    BY_PART[part] = BY_IDENTITY[id(part)] = True
    return net


def with_part(asked: Callable[[Any], bool], part: Callable[[Two], Any]) -> Two:
    net = readout(mixing_if(asked))
    return noted(net, part(net))


class Forgetful(Two):
    """Copies of it do not have all that it has."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "mix": False}


class Box:
    """The same of what is no module."""

    mix = True

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _other_box, ()


def _other_box() -> Box:
    box = Box()
    box.mix = False
    return box


def root_or_half(net: Any, x: Tensor, init: Any) -> Tensor:
    """Take roots of samples, unless one of them has none."""
    wide = x[:, :, None] * torch.eye(4, dtype=x.dtype) + 0.05 * torch.eye(4, dtype=x.dtype)
    try:
        x = torch.linalg.cholesky(wide).sum(2)
    except RuntimeError:
        x = x * 0.5
    return x


def step_with_errors(net: Any, x: Tensor, init: Any) -> Tensor:
    try:
        x = net.sl3(torch.where(x > 0.1, x, torch.nan), init)
    except ValueError:
        x = x * 0
    return x


NETS = [
    case("itself", lambda: with_part(knows_itself, lambda net: net), "a copy is another object"),
    case("its weight", lambda: with_part(knows_its_weight, lambda net: net.l1.weight), "so are its weights"),
    case("by weight", lambda: with_part(found_by_weight, lambda net: net.l1.weight), "so are its weights"),
    case("by identity", lambda: with_part(found_by_identity, lambda net: net), "a copy is another object"),
    case(
        "says how it is copied",
        lambda: Forgetful(mixing_if(lambda net: net.mix), sl1=st.LI(), sl2=st.LI(), mix=True),
        "a copy lacks what __getstate__ leaves out",
    ),
    case(
        "object that says so",
        lambda: readout(mixing_if(lambda net: net.box.mix), box=Box()),
        "a copy lacks what __reduce_ex__ leaves out",
    ),
    case("error of one sample", lambda: readout(root_or_half), "noise raises no error"),
    case("error of a layer", lambda: readout(step_with_errors, sl3=st.LI()), "noise raises no error"),
]


@pytest.mark.parametrize("make", NETS)
def test_steps(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    net = make().double()
    x = train()
    x[0, 3, 0] = -1.0
    x.requires_grad_()
    outs = [st.SpikingNet(net, 3, mode=mode)(x) for mode in ("auto", "step")]
    torch.testing.assert_close(*outs)
    torch.testing.assert_close(*[torch.autograd.grad(out.pow(2).sum(), [x, *net.parameters()]) for out in outs])


class Squared(nn.Module):
    """A parametrisation."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight * weight.abs()


@pytest.mark.parametrize("training", [True, False])
def test_weights_that_are_cached(training: bool) -> None:
    """A copy leaves none of its weights in the cache of torch, which serves the network as well."""
    torch.manual_seed(0)
    net = Two().double()
    parametrize.register_parametrization(net.l1, "weight", Squared())
    found = {}
    for mode in ("step", "auto"):
        model = st.SpikingNet(net, 3, mode=mode).train(training)
        with parametrize.cached():
            out = model(train())
        found[mode] = torch.autograd.grad(out.pow(2).sum(), [*net.l1.parameters()])
    for got, want in zip(found["auto"], found["step"], strict=True):
        torch.testing.assert_close(got, want)
        assert want.any()


INSTALLED = """
import torch

ENTRIES = []
OPTIONS = {"mix": False}


def half_if_small(x):
    return x * 0.5 if x.shape[0] <= 20 else x


class Net(torch.nn.Module):
    def __init__(self, code, layers):
        super().__init__()
        self.l, self.layers, self.code = torch.nn.Linear(4, 3), layers, code

    def forward(self, x, init):
        return self.layers(self.code(self.l(x)), init)


def counted(x):
    ENTRIES.append(1)
    return x * 0.5 if len(ENTRIES) > 4 else x


def mixed(x):
    return x - x.mean(0) if OPTIONS["mix"] else x


def printed(x):
    print("a step")
    return x
"""


@pytest.fixture
def installed(tmp_path: Path) -> Any:
    """Return what runs code as a module that lies at a path within a folder of installed packages, or beside ours."""
    made: list[str] = []

    def load(path: Path) -> Any:
        name = f"installed_for_a_test_{len(made)}"
        made.append(name)
        module = types.ModuleType(name)
        sys.modules[name] = module
        exec(compile(INSTALLED, str(path), "exec"), vars(module))
        return module

    yield load
    for name in made:
        del sys.modules[name]


@pytest.mark.parametrize("code", ["counted", "mixed"])
def test_network_of_an_installed_package(code: str, installed: Any, tmp_path: Path) -> None:
    module = installed(tmp_path / "site-packages" / "package" / "net.py")
    found = []
    for mode in ("auto", "step"):
        module.ENTRIES.clear()
        module.OPTIONS["mix"] = False
        torch.manual_seed(0)
        model = st.SpikingNet(module.Net(getattr(module, code), st.LI()).double(), 3, mode=mode)
        outs = [model(train())]
        module.OPTIONS["mix"] = True
        found.append([*outs, model(train())])
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want)


def test_prints_of_an_installed_package(installed: Any, tmp_path: Path, capsys: Any) -> None:
    module = installed(tmp_path / "site-packages" / "package" / "net.py")
    x = train()
    st.SpikingNet(module.Net(module.printed, st.LI()).double(), 3)(x)
    assert capsys.readouterr().out.count("a step") == x.shape[1]


@pytest.mark.parametrize("place", ["torchvision/net.py", "torch_of_mine.py"])
def test_code_beside_that_of_torch(place: str, installed: Any) -> None:
    """A path that begins with the letters of torch's is not torch's."""
    module = installed(Path(torch.__file__).parents[1] / place)
    found = []
    for mode in ("auto", "step"):
        torch.manual_seed(0)
        found.append(st.SpikingNet(module.Net(module.half_if_small, st.LI()).double(), 3, mode=mode)(train()))
    torch.testing.assert_close(*found)


def count_later(net: Any, x: Tensor, init: Any) -> Tensor:
    """Count the steps that are no first ones."""
    if init is False:
        net.count = net.count + 1
    return x * 0.5 if net.count > 2 else x


def flag_of_many(net: Any, x: Tensor, init: Any) -> Tensor:
    """Remember that a batch was large."""
    was_large, net.large = net.large, net.large or x.shape[0] > 20
    return centred(x) if was_large else x


@pytest.mark.parametrize("make", [lambda: readout(count_later, count=0), lambda: readout(flag_of_many, large=False)])
def test_changes_that_the_first_trace_does_not_see(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    net = make().double()
    assert not differences(run(net, "auto", train()), run(net, "step", train()))


def test_strides() -> None:
    torch.manual_seed(0)
    net = readout(lambda net, x, init: x * 0.5 if x.stride(0) > 4 else x).double()
    assert not differences(run(net, "auto", train()), run(net, "step", train()))
