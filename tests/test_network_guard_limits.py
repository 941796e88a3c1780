"""What the guard of a network cannot tell, so that a thorough look is taken; and that it holds if nothing changes."""

import copy
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.fold import policy
from spikingtorch.fold.guard import NetworkGuard, modules_of, parameter_of
from tests.nets_that_step import Two, train
from tests.test_fold_attacks import centred
from tests.test_network_guard import look, plain

pytestmark = pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning")


@dataclass
class Options:
    mix: bool = False


class Pair(NamedTuple):
    mix: bool
    options: Any


class Mixer:
    """Mixes samples where it is asked to; it can be called."""

    mix = False

    def __call__(self, x: Tensor) -> Tensor:
        return centred(x) if self.mix else x


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each thorough look."""
    found: list[int] = []
    form = policy._form

    def counted(net: nn.Module) -> Any:
        found.append(1)
        return form(net)

    monkeypatch.setattr(policy, "_form", counted)
    return found


# --- what a guard cannot tell ----------------------------------------------------------------------------------------


class Slots:
    __slots__ = ("mix",)

    def __init__(self) -> None:
        self.mix = False


def by_box(get: Callable[[Any], bool]) -> Callable[..., Tensor]:
    return lambda net, x, init: centred(x) if get(net.box) else x


def set_mix(box: Any) -> None:
    box.mix = True


# an attribute, what changes in it, and how it is read
BOXES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], Callable[[Any], bool]]] = {
    "list": (lambda: [False], lambda box: box.__setitem__(0, True), lambda box: box[0]),
    "list of modules": (lambda: [nn.ReLU().eval()], lambda box: box[0].train(), lambda box: box[0].training),
    "dict": (lambda: {"mix": False}, lambda box: box.update(mix=True), lambda box: box["mix"]),
    "dict of dicts": (
        lambda: {"a": {"mix": 0}},
        lambda box: box["a"].update(mix=True),
        lambda box: bool(box["a"]["mix"]),
    ),
    "dataclass": (Options, set_mix, lambda box: box.mix),
    "list in a tuple": (lambda: ([False],), lambda box: box[0].append(1), lambda box: len(box[0]) > 1),
    "named tuple of an object": (
        lambda: Pair(False, Options()),
        lambda box: set_mix(box.options),
        lambda b: b.options.mix,
    ),
    "module in a tuple": (lambda: (nn.ReLU().eval(),), lambda box: box[0].train(), lambda box: box[0].training),
}
# of these, even a thorough look sees no content
HIDDEN: dict[str, Callable[[], Any]] = {
    "set": set,
    "deque": deque,
    "array": lambda: np.zeros(3),
    "slots": Slots,
    "generator": torch.Generator,
}


@pytest.mark.parametrize("name", BOXES)
def test_what_changes_in_place(name: str) -> None:
    make, change, get = BOXES[name]
    model = st.SpikingNet(Two(by_box(get), box=make()).double().eval(), 3)
    assert not NetworkGuard(model.net).is_exact
    model(train())
    assert model._policy._guard is None
    assert model.explain().mode == "fold"
    change(model.net.box)
    assert model.explain(train()).mode == st.SpikingNet(copy.deepcopy(model.net), 3).explain(train()).mode == "step"


@pytest.mark.parametrize("name", HIDDEN)
def test_what_nobody_knows(name: str) -> None:
    assert not NetworkGuard(Two(box=HIDDEN[name]())).is_exact


def test_a_module_that_is_no_submodule() -> None:
    net = Two()
    net.__dict__["teacher"] = nn.BatchNorm1d(3)
    assert not NetworkGuard(net).is_exact


def test_a_list_of_its_own_modules() -> None:
    net: Any = Two()
    net.both = [net.l1, net.l2]
    assert not NetworkGuard(net).is_exact
    net.both = (net.l1, net.l2)
    look(net)


def test_an_object_that_is_called() -> None:
    model: Any = st.SpikingNet(Two(lambda net, x, init: net.mixer(x), mixer=Mixer()).double(), 3)
    model(train())
    assert model.explain().mode == "fold"
    model.net.mixer.mix = True
    assert model.explain(train()).mode == st.SpikingNet(copy.deepcopy(model.net), 3).explain(train()).mode


# --- what stays -------------------------------------------------------------------------------------------------------


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
    assert len(looks) == 3
    model(train(N=2, T=9))
    assert len(looks) == 3  # neither the batch nor the number of steps matters


def test_train_and_evaluation_alternate() -> None:
    model = st.SpikingNet(plain(), 3)
    for training in (False, True, False, False, True, True, False):
        model.train(training)
        model(train())
        assert model.explain().mode == ("step" if training else "fold")


def test_a_refusal_is_kept() -> None:
    def few(net: Any, x: Tensor, init: Any) -> Tensor:
        if x.shape[0] > 16:
            raise ValueError("at most 16 samples")
        return x

    model = st.SpikingNet(Two(few).double(), 3)
    for _ in range(3):
        model(train())
        assert model.explain().mode == "step"


def test_a_copy_looks_for_itself() -> None:
    model = st.SpikingNet(plain(), 3)
    model(train())
    other: Any = copy.deepcopy(model)
    assert other._policy._guard is None
    other.net.flag = True
    other(train())
    assert (model.explain(train()).mode, other.explain(train()).mode) == ("fold", "step")


def test_modules_and_parameters_in_order() -> None:
    net = plain(shared=nn.ReLU())
    net.again = net.inner
    net.nothing = None
    net.add_module("none", None)
    assert modules_of(net) == list(net.modules())
    assert parameter_of(modules_of(net)) is next(net.parameters())
    assert parameter_of([nn.ReLU()]) is None
