"""Networks and modules of installed packages, and code that lies beside that of torch or looks like it."""

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
from tests.fold.free import decides_anew
from tests.fold.nets.entry import FOUR, hides
from tests.fold.nets.runs import differences, run
from tests.nets_that_step import Two, put, readout, train

pytestmark = pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning")

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


class Fade(torch.nn.Module):
    calls, mix = 0, False

    def forward(self, x):
        self.calls += 1
        return x * 0.5 if self.calls > 4 else x


class Mixer(Fade):
    def forward(self, x):
        return x - x.mean(0) if self.mix else x


def counted(x):
    ENTRIES.append(1)
    return x * 0.5 if len(ENTRIES) > 4 else x


def mixed(x):
    return x - x.mean(0) if OPTIONS["mix"] else x


def printed(x):
    print("a step")
    return x
"""
Load = Callable[[Path], Any]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Return what runs code as a module that lies at a path within a folder of installed packages, or beside ours."""

    def loaded(path: Path) -> Any:
        module = types.ModuleType("installed_for_a_test")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(INSTALLED, str(path), "exec"), vars(module))
        return module

    return loaded


@pytest.fixture
def installed(load: Load, tmp_path: Path) -> Any:
    return load(tmp_path / "site-packages" / "package" / "net.py")


def modes(module: Any, code: str) -> Any:
    """Yield a model of a network of the module in each mode, both with the same weights."""
    for mode in ("auto", "step"):
        torch.manual_seed(0)
        yield st.SpikingNet(module.Net(getattr(module, code), st.LI()).double(), 3, mode=mode)


@pytest.mark.parametrize("code", ["counted", "mixed"])
def test_a_network(code: str, installed: Any) -> None:
    found = []
    for model in modes(installed, code):
        installed.ENTRIES.clear()
        installed.OPTIONS["mix"] = False
        outs = [model(train())]
        installed.OPTIONS["mix"] = True
        found.append([*outs, model(train())])
    torch.testing.assert_close(*found)


def test_a_network_that_prints(installed: Any, capsys: Any) -> None:
    x = train()
    next(modes(installed, "printed"))(x)
    assert capsys.readouterr().out.count("a step") == x.shape[1]


def test_a_module_that_keeps_a_state(installed: Any) -> None:
    entry = hides(
        "a count of its calls", lambda: readout(lambda net, x, init: net.fade(x), fade=installed.Fade()), FOUR
    )
    wrong = differences(run(entry, "auto"), run(entry, "step"), entry.dtype)
    assert not wrong, wrong


def test_a_module_that_changes(installed: Any) -> None:
    decides_anew(lambda: readout(lambda net, x, init: net.mixer(x), mixer=installed.Mixer()), put("mixer.mix", True))


@pytest.mark.parametrize("place", ["torchvision/net.py", "torch_of_mine.py"])
def test_code_beside_that_of_torch(place: str, load: Load) -> None:
    """A path that begins with the letters of torch's is not torch's."""
    module = load(Path(str(torch.__file__)).parents[1] / place)
    torch.testing.assert_close(*[model(train()) for model in modes(module, "half_if_small")])


class Squared(nn.Module):
    """A parametrisation."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight * weight.abs()


@pytest.mark.parametrize("training", [True, False])
def test_weights_that_torch_caches(training: bool) -> None:
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
    assert all(want.any() for want in found["step"])
    torch.testing.assert_close(found["auto"], found["step"])
