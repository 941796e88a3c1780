"""What changes between two calls, wherever the code can read it: a model then computes what steps do."""

import operator
import os
import sys
import types
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import spikingtorch as st
from tests.fold.free import decides_anew
from tests.nets_that_step import Hole, Two, centred, mixing_if, parameter, put, readout, train

pytestmark = pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning")

settings: Any = types.ModuleType("settings_of_a_test")
package: Any = types.ModuleType("package_of_a_test")
package.settings = settings
FLAGS: dict[str, Any] = {"mix": False, "dim": 1}


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


def mix(*_: Any) -> None:
    FLAGS["mix"] = True


# --- tensors that change in place -------------------------------------------------------------------------------------

PLACES: dict[str, tuple[Callable[[Any, Tensor], object], Callable[[Any], Tensor]]] = {
    "an attribute": (lambda net, mask: setattr(net, "mask", mask), lambda net: net.mask),
    "a buffer": (lambda net, mask: net.register_buffer("mask", mask), lambda net: net.mask),
    "a parameter": (lambda net, mask: setattr(net, "mask", nn.Parameter(mask, False)), lambda net: net.mask),
    "a dict": (lambda net, mask: setattr(net, "mask", {"a": mask}), lambda net: net.mask["a"]),
    "a list": (lambda net, mask: setattr(net, "mask", [mask]), lambda net: net.mask[0]),
    "a tuple": (lambda net, mask: setattr(net, "mask", (mask,)), lambda net: net.mask[0]),
    "a module of torch": (lambda net, mask: net.l1.bias.requires_grad_(False), lambda net: net.l1.bias),
}
FORMS: dict[str, tuple[Callable[[Tensor], object], Callable[[Tensor], Any]]] = {
    "shape": (lambda mask: setattr(mask, "data", mask.data[None]), lambda mask: mask.ndim == 2),
    "dtype": (lambda mask: setattr(mask, "data", mask.data.half()), lambda mask: mask.dtype == torch.float16),
    "gradient": (lambda mask: mask.requires_grad_(), lambda mask: mask.requires_grad),
    "attribute": (lambda mask: setattr(mask, "chosen", True), lambda mask: getattr(mask, "chosen", False)),
}
# a layer whose weights are of several dtypes does not run
TOGETHER = {(place, "dtype") for place in ("a module of torch", "a parameter")}


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("place", "form"), [(place, form) for place in PLACES for form in FORMS if (place, form) not in TOGETHER]
)
def test_a_tensor_that_changes_in_place(place: str, form: str) -> None:
    holds, mask = PLACES[place]
    changes, asks = FORMS[form]

    def make() -> Any:
        net = readout(mixing_if(lambda net: asks(mask(net)))).double()
        holds(net, torch.ones(6, dtype=torch.float64))
        return net

    decides_anew(make, lambda net: changes(mask(net)))


# --- everything else --------------------------------------------------------------------------------------------------


class Softmax(nn.Softmax):
    """A module of torch's, and a class of the user's."""


class Config(dict[str, Any]):
    """A dict with attributes."""

    mix: bool


class Chooses(dict[str, bool]):
    def __getitem__(self, key: str) -> bool:
        return bool(FLAGS["mix"])


class Kind(Enum):
    PLAIN = 1

    def mixes(self) -> Any:
        return FLAGS["mix"]


class Factor(float):
    def __bool__(self) -> bool:
        return bool(FLAGS["mix"])


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
    """To be scripted."""

    mix: bool

    def __init__(self) -> None:
        super().__init__()
        self.mix = False

    def forward(self, x: Tensor) -> Tensor:
        if self.mix:
            x = x - x.mean(0)
        return x


def flagged() -> None:
    """Do nothing; a test gives it an attribute."""


def by_class_pattern(net: Any, x: Tensor, init: Any) -> Tensor:
    match net:
        case Two(mix=True):
            return centred(x)
    return x


def by_import(net: Any, x: Tensor, init: Any) -> Tensor:
    from settings_of_a_test import mix  # type: ignore[import-not-found]

    return centred(x) if mix else x


def mix_relu(net: Any) -> None:
    nn.ReLU.forward = lambda self, x: centred(x)  # type: ignore[assignment, method-assign]


def config() -> Config:
    box = Config()
    box.mix = False
    return box


def scalar(value: float = 2.0) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def if_(asked: Callable[[Any], Any], **attributes: Callable[[], Any]) -> Callable[[], Any]:
    """Return what makes a network that mixes if something says so, with attributes that are made for it."""
    return lambda: readout(mixing_if(asked), **{name: make() for name, make in attributes.items()})


def code(run: Hole, **attributes: Any) -> Callable[[], Any]:
    return lambda: readout(run, **attributes)


def registered(run: Hole, value: nn.Parameter | torch.Tensor | None) -> Callable[[], Any]:
    """Return what makes a network with a parameter, or a buffer, w."""

    def make() -> Any:
        net = readout(run)
        if value is None or isinstance(value, nn.Parameter):
            net.register_parameter("w", value)
        else:
            net.register_buffer("w", value.clone())
        return net

    return make


def unmixed_layer() -> Any:
    net = readout(mixing_if(lambda net: net.sl1.mix))
    net.sl1.mix = False
    return net


def pair(asked: Callable[[Any], Any], other: Callable[[Tensor], Any]) -> Callable[[], Any]:
    """Return what makes a network with a tensor, and something that holds it."""

    def make() -> Any:
        one = scalar()
        return readout(mixing_if(asked), one=one, others=other(one))

    return make


def new(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.ones(*shape, dtype=torch.float64))


KEY = scalar()
another = put("one", scalar(3.0))
# what lets a change through unless it is looked for, how the network is made, and what changes
CHANGES: dict[str, tuple[str, Callable[[], Any], Callable[[Any], object]]] = {
    "parameter in place of None": (
        "_parameters are looked at",
        registered(lambda net, x, init: x if net.w is None else x - net.w * x.mean(0), None),
        lambda net: setattr(net, "w", new(1)),
    ),
    "parameter of another shape": (
        "_parameters are looked at",
        registered(mixing_if(lambda net: net.w.numel() > 1), parameter(1)),
        lambda net: setattr(net, "w", new(2)),
    ),
    "requires_grad of a parameter": (
        "a trace notes who asks",
        if_(lambda net: not net.l2.weight.requires_grad),
        lambda net: net.l2.requires_grad_(False),
    ),
    "attribute of a function": (
        "functions are guarded",
        if_(lambda _: getattr(flagged, "mix", False)),
        lambda _: vars(flagged).update(mix=True),
    ),
    "order of modules": (
        "marks have an order",
        if_(
            lambda net: next(iter(net.parts)) == "b",
            parts=lambda: nn.ModuleDict({"a": nn.Identity(), "b": nn.Identity()}),
        ),
        lambda net: net.parts._modules.update(a=net.parts._modules.pop("a")),
    ),
    "size of a buffer": (
        "of a tensor, its form counts",
        registered(mixing_if(lambda net: net.w.numel() > 1), torch.zeros(1)),
        lambda net: net.w.resize_(2),
    ),
    "attribute of a spiking layer": (
        "attributes of the library's own layers are looked at",
        unmixed_layer,
        put("sl1.mix", True),
    ),
    "subclass of a module of torch's": (
        "torch's own code reads attributes of a user's class",
        code(lambda net, x, init: net.softmax(x), softmax=Softmax(1)),
        put("softmax.dim", 0),
    ),
    "attribute of a scripted module": (
        "its attributes are not in sight",
        code(lambda net, x, init: net.mixer(x), mixer=torch.jit.script(Mixer())),
        lambda net: setattr(net.mixer, "mix", True),
    ),
    "attrgetter": (
        "a name that is in no code",
        if_(lambda net: operator.attrgetter("mix")(net), mix=bool),
        put("mix", True),
    ),
    "attrgetter of a computed name": (
        "... nor in any constant",
        if_(lambda net: operator.attrgetter(net.names[0])(net), names=lambda: ["mix"], mix=bool),
        put("mix", True),
    ),
    "format_map": (
        "a text reads an attribute",
        if_(lambda net: "{net.mix}".format_map({"net": net}) == "True", mix=bool),
        put("mix", True),
    ),
    "class pattern": ("MATCH_CLASS reads by a constant", code(by_class_pattern, mix=False), put("mix", True)),
    "method of a dict": (
        "what a built-in method belongs to",
        if_(lambda net: net.get("mix"), get=lambda: {"mix": False}.get),
        lambda net: net.get.__self__.update(mix=True),
    ),
    "module in a module of Python": (
        "modules in modules",
        if_(lambda _: package.settings.mix),
        lambda _: setattr(settings, "mix", True),
    ),
    "import in forward": ("an import in code", code(by_import), lambda _: setattr(settings, "mix", True)),
    "environment": (
        "os holds something",
        if_(lambda _: os.environ.get("MIX_SAMPLES")),
        lambda _: os.environ.update(MIX_SAMPLES="1"),
    ),
    "default dtype": (
        "settings of torch",
        if_(lambda _: torch.get_default_dtype() == torch.float64),
        lambda _: torch.set_default_dtype(torch.float64),
    ),
    "deterministic algorithms": (
        "settings of torch",
        if_(lambda _: torch.are_deterministic_algorithms_enabled()),
        lambda _: torch.use_deterministic_algorithms(True),
    ),
    "method of a class of torch's": (
        "what torch defines may be replaced",
        code(lambda net, x, init: net.relu(x), relu=nn.ReLU()),
        mix_relu,
    ),
    "attribute of a dict": (
        "more than entries",
        if_(lambda net: net.box.mix, box=config),
        lambda net: setattr(net.box, "mix", True),
    ),
    "method of a named tuple": ("its class", if_(lambda net: net.box.mixes(), box=lambda: Pair(1)), mix),
    "look-up of a dict": ("its class", if_(lambda net: net.kept["a"], kept=Chooses), mix),
    "method of a member": ("its class", if_(lambda net: net.kept.mixes(), kept=lambda: Kind.PLAIN), mix),
    "truth of a number": ("its class", if_(lambda net: net.kept, kept=lambda: Factor(1.0)), mix),
    "keys of one text": (
        "marks are not named by texts alone",
        if_(lambda net: net.box[1], box=lambda: {1: False, "1": 0}),
        lambda net: net.box.update({1: True}),
    ),
    "order of a dict": (
        "marks have an order",
        if_(lambda net: next(iter(net.box)) == "b", box=lambda: {"a": 1, "b": 1}),
        lambda net: net.box.update(a=net.box.pop("a")),
    ),
    "module made in forward": (
        "__init__ of a module",
        code(lambda net, x, init: Made()(x)),
        lambda _: FLAGS.update(dim=0),
    ),
    # tensors that are looked for, by == and by hash
    "in a list": ("==", pair(lambda net: net.one not in [net.others], lambda one: one), another),
    "in a kept list": ("==", pair(lambda net: net.one not in net.others, lambda one: [one]), another),
    "counted": ("==", pair(lambda net: not net.others.count(net.one), lambda one: [one]), another),
    "a key": ("hash", pair(lambda net: net.others.get(net.one) is None, lambda one: {one: 1}), another),
    "a set": ("hash", pair(lambda net: net.one not in net.others, lambda one: {one}), another),
    "a key that is found later": (
        "hash",
        pair(lambda net: net.others.get(net.one), lambda _: {KEY: 1}),
        put("one", KEY),
    ),
}
# what cannot be looked at is a reason to step, before and after
STAYS = {"attribute of a scripted module", "environment", "deterministic algorithms", "attribute of a dict"}


@pytest.mark.sampled
@pytest.mark.parametrize("name", CHANGES)
def test_a_change(name: str) -> None:
    _, make, change = CHANGES[name]
    decides_anew(make, change, name in STAYS)


class MixingRelu(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        return centred(out) if func is torch.relu else out


def test_a_mode() -> None:
    net = readout(lambda net, x, init: torch.relu(x)).double()
    model = st.SpikingNet(net, 3)
    model(train())
    with MixingRelu():
        torch.testing.assert_close(model(train()), st.SpikingNet(net, 3, mode="step")(train()))
