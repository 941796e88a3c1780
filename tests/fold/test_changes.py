"""What changes in a network between two calls: a model notices, and decides as a fresh one does."""

import copy
import itertools
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.nn.utils import parametrizations, prune

import spikingtorch as st
from spikingtorch.fold import policy
from spikingtorch.fold.guard import Look, first_parameter, modules_of
from spikingtorch.testing import assert_close
from tests.nets_that_step import Two, centred, parameter, put, through, train

pytestmark = pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning")


def mixing(net: Any, x: Tensor, init: Any) -> Tensor:
    """Mix the samples if anything asks for it."""
    asked = [net.flag, net.count > 300, net.rate > 0.5, net.kind == "mix", net.maybe is not None, net.pair[0]]
    asked += [net.device == torch.device("meta"), net.dtype == torch.float32]
    return centred(x) if any(asked) or getattr(net, "late", False) else x


def normed(net: Any, x: Tensor, init: Any) -> Tensor:
    out: Tensor = net.dropout(net.norm(net.inner(x)))
    return out


def plain(**more: Any) -> Any:
    """Return a network that holds one of each kind of attribute, in evaluation."""
    torch.manual_seed(0)
    values: dict[str, Any] = {"flag": False, "count": 257, "rate": 0.1, "kind": "as is", "maybe": None}
    values |= {"pair": (False, torch.relu), "device": torch.device("cpu"), "dtype": torch.float64}
    values |= {"inner": nn.Sequential(nn.Linear(6, 6), nn.ReLU()), "norm": nn.BatchNorm1d(6)}
    values |= {"extra": nn.ModuleList([nn.Identity()]), "named": nn.ModuleDict({"a": nn.ReLU()})}
    values |= {"dropout": nn.Dropout(0.0), "table": torch.ones(3)}
    net = Two(mixing, normed, **values, **more)
    net.register_buffer("seen", torch.zeros(3))
    net.register_buffer("absent", None)
    return net.double().eval()


def look(net: nn.Module) -> Look:
    found = Look(net)
    assert found.reason is None
    assert found.holds(net)
    return found


def hook(path: str, register: str) -> Callable[[Any], None]:
    return lambda net: getattr(net.get_submodule(path), register)(lambda *args: None)


def put_anew(net: Any) -> None:
    del net.flag
    net.flag = True


def rename(net: Any) -> None:
    net.late = net.early
    del net.early


def no_statistics(net: Any) -> None:
    net.norm.running_mean = net.norm.running_var = None


# of a plain network, where each of these makes other objects
CHANGES: dict[str, Callable[[Any], Any]] = {
    "train": lambda net: net.train(),
    "train one": lambda net: net.norm.train(),
    "train a layer": lambda net: net.sl1.train(),
    "train one that is deep": lambda net: net.inner[1].train(),
    "module replaced": put("dropout", nn.Identity()),
    "module of a list replaced": lambda net: net.inner.__setitem__(1, nn.Tanh()),
    "module added": lambda net: net.add_module("more", nn.ReLU()),
    "module added to a list": lambda net: net.extra.append(nn.ReLU()),
    "module added to a dict": lambda net: net.named.update({"b": nn.ReLU()}),
    "module added to a layer": lambda net: net.sl1.add_module("more", nn.ReLU()),
    "module removed": lambda net: net.inner.__delitem__(1),
    "module set to None": put("dropout", None),
    "layer replaced": put("sl1", st.IF()),
    "bool": put("flag", True),
    "int": put("count", 301),
    "float": put("rate", 0.9),
    "str": put("kind", "mix"),
    "None": put("maybe", 1),
    "tuple": put("pair", (True, torch.relu)),
    "function": put("before", lambda net, x, init: centred(x)),
    "device": put("device", torch.device("meta")),
    "dtype": put("dtype", torch.float32),
    "tensor": put("table", torch.zeros(3)),
    "attribute added": put("late", True),
    "attribute put anew": put_anew,
    "attribute removed": lambda net: delattr(net, "kind"),
    "list in place of a float": put("rate", [0.1]),
    "forward": put("inner.1.forward", lambda x: centred(x.relu())),
    "forward of a layer": put("sl1.forward", lambda x, init: x),
    "class": put("inner.1.__class__", nn.Tanh),
    "class of a layer": put("sl1.__class__", type("Mine", (st.LIF,), {})),
    "parametrized": lambda net: parametrizations.weight_norm(net.l1),
    "pruned": lambda net: prune.identity(net.l1, "weight"),
    "buffer set to None": put("seen", None),
    "buffer put in": put("absent", torch.ones(3)),
    "buffer replaced": put("seen", torch.ones(3)),
    "buffer added": lambda net: net.register_buffer("other", torch.ones(3)),
    "buffer added at the very end": lambda net: modules_of(net)[-1].register_buffer("other", torch.ones(3)),
    "buffers of a norm": no_statistics,
    "norm without statistics": put("norm.track_running_stats", False),
    "dropout": put("dropout.p", 0.5),
    "forward hook": hook("l1", "register_forward_hook"),
    "forward hook on the network": hook("", "register_forward_hook"),
    "forward hook on a layer": hook("sl1", "register_forward_hook"),
    "forward hook deep down": hook("inner.1", "register_forward_hook"),
    "forward pre-hook": hook("l1", "register_forward_pre_hook"),
    "forward pre-hook on a layer": hook("sl1", "register_forward_pre_hook"),
    "backward hook": hook("l1", "register_full_backward_hook"),
    "backward hook on a layer": hook("sl1", "register_full_backward_hook"),
    "backward pre-hook": hook("l1", "register_full_backward_pre_hook"),
    "backward pre-hook on a layer": hook("sl1", "register_full_backward_pre_hook"),
    "old backward hook": hook("l1", "register_backward_hook"),
    "hooks put anew": put("l1._forward_hooks", OrderedDict({0: lambda *args: None})),
    "hooks put anew on a layer": put("sl1._forward_hooks", OrderedDict({0: lambda *args: None})),
}
# after these it cannot run, or not be copied
ENDS = {"attribute removed", "module set to None", "list in place of a float", "old backward hook", "pruned"}


@dataclass
class Options:
    mix: bool = False


class Called(Options):
    def __call__(self) -> bool:
        return self.mix


class Pair(NamedTuple):
    mix: bool
    options: Any


class Slots:
    __slots__ = ("mix",)


def set_mix(box: Any) -> None:
    box.mix = True


one = torch.ones((), dtype=torch.float64)
# how to make it, and what changes
OTHERS: dict[str, tuple[Callable[[], Two], Callable[[Any], object]]] = {
    "another name": (lambda: plain(early=True), rename),
    "tensor in use": (lambda: Two(lambda net, x, init: x - net.a * x.mean(0), a=0.0 * one), put("a", one)),
    "hidden norm": (
        lambda: Two(lambda net, x, init: net.box[0](x), box=[nn.BatchNorm1d(4, dtype=torch.float64).eval()]),
        lambda net: net.box[0].train(),
    ),
    "dim of a softmax": (lambda: Two(through, module=nn.Softmax(1), sl2=st.LI()), put("module.dim", 0)),
}
# an attribute by which the network mixes samples, how it is read, and what changes in it: only a thorough look sees it
BOXES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], Callable[[Any], object]]] = {
    "list": (lambda: [False], lambda box: box[0], lambda box: box.__setitem__(0, True)),
    "list of modules": (lambda: [nn.ReLU().eval()], lambda box: box[0].training, lambda box: box[0].train()),
    "module in a tuple": (lambda: (nn.ReLU().eval(),), lambda box: box[0].training, lambda box: box[0].train()),
    "dict": (lambda: {"mix": False}, lambda box: box["mix"], lambda box: box.update(mix=True)),
    "dict of dicts": (lambda: {"a": {"mix": 0}}, lambda box: box["a"]["mix"], lambda box: box["a"].update(mix=True)),
    "list in a tuple": (lambda: ([False],), lambda box: len(box[0]) > 1, lambda box: box[0].append(1)),
    "dataclass": (Options, lambda box: box.mix, set_mix),
    "object that is called": (Called, lambda box: box(), set_mix),
    "named tuple": (lambda: Pair(False, Options()), lambda box: box.options.mix, lambda box: set_mix(box.options)),
}
# an operation that mixes is there before the change, times zero
MIX_ALREADY = {"tensor in use"}
# what a tensor holds decides nothing: another one of the same form needs no other decision
SAME_FORM = {"tensor", "tensor in use"}


def boxed(name: str) -> tuple[Callable[[], Two], Callable[[Any], object]]:
    make, get, change = BOXES[name]
    return lambda: Two(lambda net, x, init: centred(x) if get(net.box) else x, box=make()), lambda net: change(net.box)


@pytest.mark.sampled
@pytest.mark.parametrize("name", [*CHANGES, *OTHERS, *BOXES])
def test_decides_as_a_fresh_one(name: str) -> None:
    make, change = boxed(name) if name in BOXES else OTHERS.get(name) or (plain, CHANGES[name])
    torch.manual_seed(0)
    net = make().double().eval()
    model, guard = st.SpikingNet(net, 3), look(net)
    for _ in range(3):
        model(train())
    assert guard.holds(net)
    assert model.explain().mode == ("step" if name in MIX_ALREADY else "fold")
    change(net)
    assert guard.holds(net) == (name in SAME_FORM)
    if name not in ENDS:
        fresh, step = st.SpikingNet(copy.deepcopy(net), 3), st.SpikingNet(copy.deepcopy(net), 3, mode="step")
        want = step(train())
        assert_close(fresh(train()), want)
        assert_close(model(train()), want)
        assert model.explain().mode == fresh.explain().mode
        assert model.explain().mode == "step" or name in CHANGES


def fill(array: Any) -> None:
    array[0] = 1.0


@pytest.mark.parametrize(
    ("box", "change"),
    [
        ({1}, lambda box: box.add(2)),
        (deque([1]), lambda box: box.append(1)),
        (np.zeros(3), fill),
        (Slots(), set_mix),
        ({"a": {2}}, lambda box: box["a"].clear()),
    ],
    ids=["set", "deque", "array", "slots", "set in a dict"],
)
def test_notices_what_has_no_attributes(box: Any, change: Callable[[Any], object]) -> None:
    net = Two(lambda net, x, init: x if net.box is None else x * 2.0, box=box)
    before = look(net)
    change(box)
    assert not before.holds(net)
    assert not Look(net).same_as(before)


@pytest.mark.parametrize("box", [torch.Generator(), np.random.default_rng(0), itertools.count(), iter([1])])
def test_steps_where_content_is_not_in_sight(box: Any) -> None:
    model = st.SpikingNet(Two(lambda net, x, init: x if net.box is None else x * 2.0, box=box).double(), 3)
    report = model.explain(train())
    assert (report.mode, report.reason[:21]) == ("step", "the network reads box"), report.reason
    idle = st.SpikingNet(Two(box=box).double(), 3)
    assert idle.explain(train()).mode == "fold"  # no code reads it


def test_a_module_that_is_no_submodule() -> None:
    net: Any = Two(lambda net, x, init: net.teacher(x))
    net.__dict__["teacher"] = nn.Dropout(0.5)
    guard = look(net)
    net.teacher.eval()
    assert not guard.holds(net)


def test_another_network_in_the_place_of_one_that_folds() -> None:
    auto, step = st.SpikingNet(plain().double(), 3), st.SpikingNet(plain().double(), 3, mode="step")
    auto(train())
    auto.net = step.net = Two(lambda net, x, init: centred(x)).double()
    assert_close(auto(train()), step(train()))
    assert auto.explain().mode == "step"


def test_a_first_parameter_of_a_module() -> None:
    net: Any = Two(lambda net, x, init: centred(x) if net.box._parameters else x, box=nn.Identity())
    guard = look(net)
    net.box.gate = parameter(1)
    assert not guard.holds(net)


def test_a_gate_that_opens_in_training() -> None:
    net = Two(lambda net, x, init: x + net.alpha * centred(x), alpha=parameter(1), sl2=st.LI()).double()
    auto, step = st.SpikingNet(net, 3), st.SpikingNet(net, 3, mode="step")
    auto(train())
    net.get_parameter("alpha").data.fill_(2.0)
    assert_close(auto(train()), step(train()))


# --- hooks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward", "full_backward_pre"])
def test_notices_hooks_of_all_modules(kind: str) -> None:
    net = plain()
    guard, model, calls = look(net), st.SpikingNet(net, 3), []
    model(train())
    handle = getattr(torch_module, f"register_module_{kind}_hook")(lambda *args: calls.append(1))
    try:
        assert not guard.holds(net)
        model(train())
    finally:
        handle.remove()
    assert len(calls) == (7 * 10 + 1 if "forward" in kind else 0)
    assert guard.holds(net)
    assert model.explain(train()).mode == "fold"


def test_hooks_that_are_gone_again_or_put_anew() -> None:
    net = plain()
    guard, model = look(net), st.SpikingNet(net, 3)
    model(train())
    handle = net.sl1.register_forward_hook(lambda *args: None)
    assert not guard.holds(net)
    handle.remove()
    assert guard.holds(net)
    net.sl1._forward_hooks = OrderedDict()  # as those do who clear all hooks of a model by hand
    model(train())
    calls: list[int] = []
    net.sl1.register_forward_hook(lambda *args: calls.append(1))
    model(train())
    assert len(calls) == train().shape[1]


# --- what stays -------------------------------------------------------------------------------------------------------


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each thorough look."""
    found: list[int] = []

    def counted(net: nn.Module, *args: Any, **options: Any) -> Look:
        found.append(1)
        return Look(net, *args, **options)

    monkeypatch.setattr(policy, "Look", counted)
    return found


def test_holds_for_an_unchanged_network(looks: list[int]) -> None:
    model = st.SpikingNet(plain(), 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(4):
        optimizer.zero_grad()
        model(train()).sum().backward()
        optimizer.step()
    assert len(looks) == 1
    assert model.explain().mode == "fold"


def test_finds_another_sample(looks: list[int]) -> None:
    model = st.SpikingNet(plain(), 3)
    for grad in (True, True, False, False, True):
        with torch.set_grad_enabled(grad):
            model(train())
    assert len(looks) == 1
    model(train(N=2, T=9))
    assert len(looks) == 1  # neither the batch nor the number of steps matters


def test_a_copy_looks_for_itself() -> None:
    model = st.SpikingNet(plain(), 3)
    model(train())
    other: Any = copy.deepcopy(model)
    assert not other._policy._versions
    other.net.flag = True
    other(train())
    assert (model.explain(train()).mode, other.explain(train()).mode) == ("fold", "step")


def test_modules_and_parameters_in_order() -> None:
    net = plain(shared=nn.ReLU())
    net.again = net.inner
    net.nothing = None
    net.add_module("none", None)
    assert modules_of(net) == list(net.modules())
    assert first_parameter(modules_of(net))[1] is next(net.parameters())
    assert first_parameter([nn.ReLU()]) == (None, None)
