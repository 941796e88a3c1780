"""Python modules of settings and of helpers, wherever a network meets them, and however often."""

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from tests.fold.attacks import shared_code
from tests.fold.free import decides_anew
from tests.nets_that_step import readout, train

pytestmark = pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning")

package: Any = types.ModuleType("a_package_of_a_test")
package.settings = shared_code
first: Any = types.ModuleType("a_package_of_a_test.first")
first.scale = shared_code.scale
package.first, package.second = first, types.ModuleType("a_package_of_a_test.second")
REGISTRY: dict[str, Any] = {"code": shared_code}


class Options:
    def __init__(self) -> None:
        self.code = shared_code


OPTIONS = Options()


def the_module() -> Any:
    return shared_code


class Gain(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return shared_code.GAIN * shared_code.scale(x)


class Part(nn.Module):
    """A module of a network, with code of its own."""

    def __init__(self, code: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.code = code

    def forward(self, x: Tensor) -> Tensor:
        return self.code(x)


class Property(nn.Module):
    @property
    def mixes(self) -> bool:
        return shared_code.MIX

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0) if self.mixes else x


def mixing(asked: Callable[[], Any]) -> Part:
    return Part(lambda x: x - x.mean(0) if asked() else x)


ASKS: dict[str, Callable[[], nn.Module]] = {
    "in a second module": lambda: mixing(lambda: shared_code.MIX),
    "by getattr": lambda: mixing(lambda: getattr(shared_code, "MIX", False)),
    "by a computed name": lambda: mixing(lambda: getattr(shared_code, "".join(["MI", "X"]), False)),
    "by vars": lambda: mixing(lambda: vars(shared_code)["MIX"]),
    "by a property": Property,
    "by a helper that is handed the module": lambda: Part(lambda x: shared_code.centred_if(shared_code, x)),
    "through a package": lambda: mixing(lambda: package.settings.MIX),
    "in a dict": lambda: mixing(lambda: REGISTRY["code"].MIX),
    "in an object": lambda: mixing(lambda: OPTIONS.code.MIX),
    "from a function": lambda: mixing(lambda: the_module().MIX),
    "from a function, handed on": lambda: Part(lambda x: shared_code.centred_if(the_module(), x)),
}


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before: dict[str, Any] = {"MIX": False, "GAIN": 1.0, "CALLS": 0, "TRACE": None, "LOG": []}
    for name, value in (before | {"FOLDER": str(tmp_path)}).items():
        monkeypatch.setattr(shared_code, name, value)
    for name in ("NOTED", "LATE"):
        monkeypatch.delattr(shared_code, name, raising=False)


def between(*parts: nn.Module) -> nn.Module:
    """Return a network of spiking layers with modules between them, the first of which reads the settings already."""
    return nn.Sequential(nn.Linear(4, 6), Gain(), st.LI(), *parts, nn.Linear(6, 3), st.LI())


# here, code may read anything in the file, and some of it prints
ALL_OF_IT = {"by a computed name", "by vars"}


@pytest.mark.sampled
@pytest.mark.parametrize("asks", ASKS)
def test_a_setting_that_changes_is_seen(asks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(net: Any) -> None:
        monkeypatch.setattr(shared_code, "MIX", True)

    decides_anew(lambda: between(ASKS[asks]()), change, stays=asks in ALL_OF_IT)


@pytest.mark.parametrize("asked", [lambda: hasattr(shared_code, "LATE"), lambda: getattr(shared_code, "LATE", 0)])
def test_a_setting_that_comes_later_is_seen(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(net: Any) -> None:
        monkeypatch.setattr(shared_code, "LATE", True, raising=False)

    decides_anew(lambda: between(mixing(asked)), change)


@pytest.mark.parametrize("name", ["scale", "GAIN"])
def test_what_enters_arithmetic_alone_is_seen_as_well(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value = 3.0 if name == "GAIN" else lambda x: x - x.mean(0)
    decides_anew(between, lambda net: monkeypatch.setattr(shared_code, name, value))


def by_name(name: str) -> Callable[[], nn.Module]:
    return lambda: Part(lambda x: getattr(shared_code, name)(x))


HELPERS: dict[str, Callable[[], nn.Module]] = {name: by_name(name) for name in ("log", "low_pass", "count", "tell")} | {
    "in another module": lambda: Part(lambda x: shared_code.log(x)),
    "that is handed the module": lambda: Part(lambda x: shared_code.count_in(shared_code, x)),
    "that gives the module a name": lambda: Part(lambda x: shared_code.note(shared_code, x)),
    "in a dict": lambda: Part(lambda x: REGISTRY["code"].log(x)),
    "in an object": lambda: Part(lambda x: OPTIONS.code.low_pass(x)),
    "in a package": lambda: Part(lambda x: package.second.log(x)),
    "from a function": lambda: Part(lambda x: the_module().count(x)),
}


@pytest.mark.sampled
@pytest.mark.parametrize("helper", HELPERS)
def test_helpers_that_keep_something_step(
    helper: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    package.second.log = shared_code.log
    kept: list[Any] = []
    for mode in ("step", "auto"):
        torch.manual_seed(0)
        monkeypatch.setattr(shared_code, "LOG", [])
        shared_code.__dict__.update(CALLS=0, TRACE=None)
        shared_code.__dict__.pop("NOTED", None)
        package.second.log.__globals__["LOG"] = shared_code.LOG
        through_package = Part(lambda x: package.first.scale(x))
        model = st.SpikingNet(between(through_package, HELPERS[helper]()).double(), 3, mode=mode)
        outputs = [model(train()) for _ in range(3)]
        state = shared_code.CALLS, vars(shared_code).get("NOTED"), [each.shape for each in shared_code.LOG]
        kept.append((torch.stack(outputs), shared_code.TRACE, capsys.readouterr().out, *state))
    torch.testing.assert_close(kept[0][:2], kept[1][:2], rtol=0.0, atol=0.0)
    assert kept[0][2:] == kept[1][2:]
    assert model.explain().mode == "step"


@pytest.mark.parametrize("code", [shared_code.make_folder, shared_code.move_file])
def test_calls_that_change_files_step(code: Any, tmp_path: Path) -> None:
    (tmp_path / "0").touch()
    model = st.SpikingNet(readout(lambda net, x, init: code(x)).double(), 3)
    model(train(T=4))
    assert model.explain().mode == "step"
    assert "at each step" in model.explain().reason
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == (["0", "1", "2", "3", "4"] if code is shared_code.make_folder else ["00000"])


def test_a_module_of_helpers_that_keep_nothing_folds() -> None:
    net = between(Part(lambda x: shared_code.scale(x)), Part(lambda x: REGISTRY["code"].scale(x))).double()
    model = st.SpikingNet(net, 3)
    torch.testing.assert_close(model(train()), st.SpikingNet(net, 3, mode="step")(train()))
    assert model.explain().mode == "fold"


def test_another_module_of_the_same_name_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = types.ModuleType("settings_of_a_test"), types.ModuleType("settings_of_a_test")
    vars(first).update(MIX=False)
    vars(second).update(MIX=True)
    monkeypatch.setitem(sys.modules, first.__name__, first)

    def mixes() -> bool:
        import settings_of_a_test  # type: ignore[import-not-found]  # pyright: ignore

        return bool(settings_of_a_test.MIX)

    decides_anew(lambda: between(mixing(mixes)), lambda net: monkeypatch.setitem(sys.modules, first.__name__, second))
