"""State that nobody sees: mode "auto" steps, or counts as stepping does."""

import itertools
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import spikingtorch as st
from tests.fold.attacks.holes import case, decides_anew, late, readout, with_attribute
from tests.nets_that_step import Two, differences, put, run, train

pytestmark = pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning")


def count_on_layer(net: Any) -> int:
    net.sl1.calls = net.sl1.calls + 1
    return int(net.sl1.calls)


def count_on_parameter(net: Any) -> int:
    net.l1.bias.calls = getattr(net.l1.bias, "calls", 0) + 1
    return int(net.l1.bias.calls)


class PrivateSlots:
    __slots__ = ("__n",)

    def __init__(self) -> None:
        self.__n = 0

    def tick(self) -> int:
        self.__n += 1
        return self.__n


STATE: list[Any] = [
    case(
        "on a spiking layer",
        lambda: with_attribute("sl1", "calls", 0, late(count_on_layer)),
        "attributes of the library's own layers are not looked at",
    ),
    case("on a parameter", lambda: readout(late(count_on_parameter)), "attributes of tensors are not looked at"),
    case(
        "iterator on a module of torch's",
        lambda: with_attribute("l1", "count", itertools.count(), late(lambda net: next(net.l1.count))),
        "what cannot be looked into is no reason to step on a module of torch's",
    ),
    case(
        "private slots",
        lambda: readout(late(lambda net: net.box.tick()), box=PrivateSlots()),
        "the names of private slots are mangled",
    ),
]


@pytest.mark.parametrize("make", STATE)
def test_counts_as_steps_do(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    net = make().double()
    wrong = differences(run(net, "auto", train()), run(net, "step", train()), 1e-8)
    assert not wrong, wrong


INSTALLED = """
from torch import nn


class Fade(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0
        self.mix = False

    def forward(self, x):
        self.calls += 1
        return x * 0.5 if self.calls > 4 else x


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = False

    def forward(self, x):
        return x - x.mean(0) if self.mix else x
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Return a module that is installed as packages are."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "installed_for_a_test.py").write_text(INSTALLED)
    module = types.ModuleType("installed_for_a_test")
    exec(compile(INSTALLED, str(folder / "installed_for_a_test.py"), "exec"), vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_state_of_an_installed_module(installed: Any) -> None:
    net = readout(lambda net, x, init: net.fade(x), fade=installed.Fade()).double()
    wrong = differences(run(net, "auto", train()), run(net, "step", train()), 1e-8)
    assert not wrong, wrong


def test_notices_a_change_of_an_installed_module(installed: Any) -> None:
    decides_anew(lambda: readout(lambda net, x, init: net.mixer(x), mixer=installed.Mixer()), put("mixer.mix", True))


class ScriptedFade(nn.Module):
    n: int

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def forward(self, x: Tensor) -> Tensor:
        self.n = self.n + 1
        if self.n > 4:
            return x * 0.5
        return x


def test_state_of_a_scripted_module() -> None:
    torch.manual_seed(0)
    net, found = readout(lambda net, x, init: net.fade(x)).double(), []
    for mode in ("step", "auto"):
        net.fade = torch.jit.script(ScriptedFade())
        found.append(st.SpikingNet(net, 3, mode=mode)(train()))
    torch.testing.assert_close(found[1], found[0])


class Gains:
    """An attribute that counts how often it is read."""

    n = 0

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        if owner is None:
            return self
        self.n += 1
        return 0.5 if self.n > 4 else 1.0


class Described(Two):
    gain = Gains()


def test_state_of_a_descriptor() -> None:
    torch.manual_seed(0)
    net, found = Described(lambda net, x, init: x * net.gain, sl1=st.LI(), sl2=st.LI()).double(), []
    for mode in ("step", "auto"):
        vars(Described)["gain"].n = 0
        found.append(st.SpikingNet(net, 3, mode=mode)(train()))
    torch.testing.assert_close(found[1], found[0])


calls_of_gain: list[int] = []


@torch.library.custom_op("spikingtorch_tests::fading_gain", mutates_args=())
def fading_gain(weight: Tensor) -> Tensor:
    calls_of_gain.append(1)
    return weight * (0.5 if len(calls_of_gain) > 4 else 1.0)


@torch.library.custom_op("spikingtorch_tests::record", mutates_args=())
def record(x: Tensor) -> None:
    calls_of_gain.append(x.shape[0])


def test_unknown_operation_on_weights() -> None:
    torch.manual_seed(0)
    weight = torch.ones(4, dtype=torch.float64)
    net = readout(lambda net, x, init: x * torch.ops.spikingtorch_tests.fading_gain(net.weight), weight=weight).double()
    found = []
    for mode in ("step", "auto"):
        calls_of_gain.clear()
        found.append(st.SpikingNet(net, 3, mode=mode)(train()))
    torch.testing.assert_close(found[1], found[0])


class Levels(nn.Parameter):
    """A weight whose product takes inputs in a few levels, with one scale for all."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            if func is F.linear:
                scale = args[0].abs().max()
                return F.linear((args[0] / scale * 7).round() * scale / 7, *args[1:])
            return func(*args, **(kwargs or {}))


def test_class_of_a_parameter() -> None:
    torch.manual_seed(0)
    net = readout().double()
    net.l1.weight = Levels(net.l1.weight.detach())
    want = st.SpikingNet(net, 3, mode="step")(train())
    torch.testing.assert_close(st.SpikingNet(net, 3)(train()), want)


def test_running_statistics_of_a_call_with_the_buffers_of_a_norm() -> None:
    def normed(net: Any, x: Tensor, init: Any) -> Tensor:
        return F.batch_norm(x, net.norm.running_mean, net.norm.running_var, training=True, momentum=0.5)

    found: list[Any] = []
    for mode in ("step", "auto"):
        model: Any = st.SpikingNet(readout(normed, norm=nn.BatchNorm1d(4)).double(), 3, mode=mode)
        model(train())
        found.append(model.net.norm)
    torch.testing.assert_close(dict(found[1].named_buffers()), dict(found[0].named_buffers()))
