"""What changes between two calls, wherever the code can read it."""

import operator
import os
import sys
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import spikingtorch as st
from tests.fold.attacks.holes import case, decides_anew, mixing_if, readout, with_attribute
from tests.nets_that_step import Hole, Two, centred, parameter, put, train

pytestmark = pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning")


class Softmax(nn.Softmax):
    """A module of torch's, and a class of the user's."""


class Config(dict[str, Any]):
    """A dict with attributes."""


FLAGS: dict[str, Any] = {"mix": False, "dim": 1}


def flagged() -> None:
    """Do nothing; a test gives it an attribute."""


class Pair(NamedTuple):
    a: int

    def mixes(self) -> Any:
        return FLAGS["mix"]


class Made(nn.Module):
    """Is made in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.dim = FLAGS["dim"]

    def forward(self, x: Tensor) -> Tensor:
        return x.softmax(self.dim)


class Mixer(nn.Module):
    mix: bool

    def __init__(self) -> None:
        super().__init__()
        self.mix = False

    def forward(self, x: Tensor) -> Tensor:
        if self.mix:
            x = x - x.mean(0)
        return x


settings, package = types.ModuleType("settings_of_a_test"), types.ModuleType("package_of_a_test")
package.settings = settings  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Any:
    for module in (settings, package):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(settings, "mix", False, raising=False)
    monkeypatch.setitem(FLAGS, "mix", False)
    monkeypatch.setitem(FLAGS, "dim", 1)
    monkeypatch.delenv("MIX_SAMPLES", raising=False)
    dtype, relu = torch.get_default_dtype(), nn.ReLU.forward
    yield
    os.environ.pop("MIX_SAMPLES", None)
    vars(flagged).clear()
    torch.set_default_dtype(dtype)
    torch.use_deterministic_algorithms(False)
    nn.ReLU.forward = relu  # type: ignore[method-assign]


def with_parameter(value: nn.Parameter | None, code: Hole) -> Two:
    net = readout(code)
    net.register_parameter("w", value)
    return net


def with_buffer(code: Hole) -> Two:
    net = readout(code)
    net.register_buffer("b", torch.zeros(1))
    return net


def by_class_pattern(net: Any, x: Tensor, init: Any) -> Tensor:
    match net:
        case Two(mix=True):
            return centred(x)
    return x


def by_import(net: Any, x: Tensor, init: Any) -> Tensor:
    from settings_of_a_test import mix  # type: ignore[import-not-found]

    return centred(x) if mix else x


def with_bound_method() -> Two:
    options = {"mix": False}
    return readout(mixing_if(lambda net: net.get("mix")), get=options.get)


def move_to_end(net: Any) -> None:
    net.box["a"] = net.box.pop("a")


def mix_relu(net: Any) -> None:
    nn.ReLU.forward = lambda self, x: centred(x)  # type: ignore[assignment, method-assign]


def new_parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.ones(*shape, dtype=torch.float64))


CHANGES: list[Any] = [
    case(
        "parameter in place of None",
        (
            lambda: with_parameter(None, lambda net, x, init: x if net.w is None else x - net.w * x.mean(0)),
            lambda net: setattr(net, "w", new_parameter(1)),
        ),
        "_parameters are not looked at",
    ),
    case(
        "parameter of another shape",
        (
            lambda: with_parameter(parameter(1), mixing_if(lambda net: net.w.numel() > 1)),
            lambda net: setattr(net, "w", new_parameter(2)),
        ),
        "_parameters are not looked at",
    ),
    case(
        "requires_grad of a parameter",
        (
            lambda: readout(mixing_if(lambda net: not net.l2.weight.requires_grad)),
            lambda net: net.l2.requires_grad_(False),
        ),
        "Trace.reads notes it, and nobody asks",
    ),
    case(
        "attribute of a parameter",
        (
            lambda: with_parameter(parameter(1), mixing_if(lambda net: getattr(net.w, "mix", False))),
            lambda net: setattr(net.w, "mix", True),
        ),
        "attributes of tensors are neither copied nor looked at",
    ),
    case(
        "attribute of a buffer",
        (
            lambda: with_buffer(mixing_if(lambda net: getattr(net.b, "mix", False))),
            lambda net: setattr(net.b, "mix", True),
        ),
        "attributes of tensors are neither copied nor looked at",
    ),
    case(
        "attribute of a tensor",
        (
            lambda: readout(mixing_if(lambda net: getattr(net.t, "mix", False)), t=torch.zeros(1)),
            lambda net: setattr(net.t, "mix", True),
        ),
        "attributes of tensors are neither copied nor looked at",
    ),
    case(
        "attribute of a function",
        (
            lambda: readout(mixing_if(lambda net: getattr(flagged, "mix", False))),
            lambda net: vars(flagged).update(mix=True),
        ),
        "attributes of a function are marked but not guarded",
    ),
    case(
        "order of modules",
        (
            lambda: readout(
                mixing_if(lambda net: next(iter(net.parts)) == "b"),
                parts=nn.ModuleDict({"a": nn.Identity(), "b": nn.Identity()}),
            ),
            lambda net: net.parts._modules.update(a=net.parts._modules.pop("a")),
        ),
        "marks have no order",
    ),
    case(
        "size of a buffer",
        (lambda: with_buffer(mixing_if(lambda net: net.b.numel() > 1)), lambda net: net.b.resize_(2)),
        "of a tensor, its identity alone counts",
    ),
    case(
        "attribute of a spiking layer",
        (
            lambda: with_attribute("sl1", "mix", False, mixing_if(lambda net: net.sl1.mix)),
            put("sl1.mix", True),
        ),
        "attributes of the library's own layers are not looked at",
    ),
    case(
        "subclass of a module of torch's",
        (lambda: readout(lambda net, x, init: net.softmax(x), softmax=Softmax(1)), put("softmax.dim", 0)),
        "what torch's own code reads of a user's class is no name that was found",
    ),
    case(
        "attribute of a scripted module",
        (
            lambda: readout(lambda net, x, init: net.mixer(x), mixer=torch.jit.script(Mixer())),
            lambda net: setattr(net.mixer, "mix", True),
        ),
        "attributes of scripted modules are not looked at",
    ),
    case(
        "attrgetter",
        (lambda: readout(mixing_if(lambda net: operator.attrgetter("mix")(net)), mix=False), put("mix", True)),
        "a name that is in no code",
    ),
    case(
        "class pattern",
        (lambda: readout(by_class_pattern, mix=False), put("mix", True)),
        "MATCH_CLASS reads by a constant",
    ),
    case(
        "method of a dict",
        (with_bound_method, lambda net: net.get.__self__.update(mix=True)),
        "what a built-in method belongs to is not looked at",
    ),
    case(
        "module in a module of Python",
        (lambda: readout(mixing_if(lambda net: package.settings.mix)), lambda net: setattr(settings, "mix", True)),
        "_space does not go into modules in modules",
    ),
    case(
        "import in forward",
        (lambda: readout(by_import), lambda net: setattr(settings, "mix", True)),
        "an import in code is no reason to step",
    ),
    case(
        "environment",
        (
            lambda: readout(mixing_if(lambda net: os.environ.get("MIX_SAMPLES"))),
            lambda net: os.environ.update(MIX_SAMPLES="1"),
        ),
        "os is taken to hold nothing",
    ),
    case(
        "default dtype",
        (
            lambda: readout(mixing_if(lambda net: torch.get_default_dtype() == torch.float64)),
            lambda net: torch.set_default_dtype(torch.float64),
        ),
        "settings of torch are no part of a decision",
    ),
    case(
        "deterministic algorithms",
        (
            lambda: readout(mixing_if(lambda net: torch.are_deterministic_algorithms_enabled())),
            lambda net: torch.use_deterministic_algorithms(True),
        ),
        "settings of torch are no part of a decision",
    ),
    case(
        "method of a class of torch's",
        (lambda: readout(lambda net, x, init: net.relu(x), relu=nn.ReLU()), mix_relu),
        "what torch defines is taken to stay",
    ),
    case(
        "attribute of a dict",
        (lambda: readout(mixing_if(lambda net: net.box.mix), box=_config()), lambda net: setattr(net.box, "mix", True)),
        "of a subclass of dict, the entries alone are looked at",
    ),
    case(
        "method of a named tuple",
        (lambda: readout(mixing_if(lambda net: net.box.mixes()), box=Pair(1)), lambda net: FLAGS.update(mix=True)),
        "methods of a named tuple are not looked at",
    ),
    case(
        "keys of one text",
        (
            lambda: readout(mixing_if(lambda net: net.box[1]), box={1: False, "1": 0}),
            lambda net: net.box.update({1: True}),
        ),
        "a mark is named by the text of its key",
    ),
    case(
        "order of a dict",
        (lambda: readout(mixing_if(lambda net: next(iter(net.box)) == "b"), box={"a": 1, "b": 1}), move_to_end),
        "marks have no order",
    ),
    case(
        "module made in forward",
        (lambda: readout(lambda net, x, init: Made()(x)), lambda net: FLAGS.update(dim=0)),
        "__init__ of a module is not looked at",
    ),
]


def _config() -> Config:
    box = Config()
    box.mix = False  # type: ignore[attr-defined]
    return box


# what cannot be looked at is a reason to step, before and after
STAYS = {"attribute of a scripted module", "environment", "deterministic algorithms", "attribute of a dict"}


@pytest.mark.parametrize(
    ("name", "make", "change"), [pytest.param(each.id, *each.values[0], id=each.id) for each in CHANGES]
)
def test_notices(name: str, make: Callable[[], Any], change: Callable[[Any], object]) -> None:
    decides_anew(make, change, name in STAYS)


class MixingRelu(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        return centred(out) if func is torch.relu else out


def test_notices_a_mode() -> None:
    net = readout(lambda net, x, init: torch.relu(x)).double()
    model = st.SpikingNet(net, 3)
    model(train())
    with MixingRelu():
        torch.testing.assert_close(model(train()), st.SpikingNet(net, 3, mode="step")(train()))
