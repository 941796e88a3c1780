"""What changes between two calls beside attributes of modules: in objects, by computed names, or outside."""

import operator
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tests.fold.corpus.changes import BATCH, asks, mixing_if
from tests.fold.corpus.entry import Between, Code, Entry, Whole, folds, module, steps
from tests.fold.corpus.outside import FLAGS, SETTINGS, flagged
from tests.nets_that_step import centred, put

# --- what objects hold ------------------------------------------------------------------------------------------------


def mix(*_: Any) -> None:
    FLAGS["mix"] = True


def set_mix(box: Any) -> None:
    box.mix = True


@dataclass
class Options:
    mix: bool = False


class Called(Options):
    def __call__(self) -> bool:
        return self.mix


class Pair(NamedTuple):
    a: Any

    def mixes(self) -> Any:
        return FLAGS["mix"]


class Slots:
    __slots__ = ("mix",)

    def __init__(self) -> None:
        self.mix = False


class Config(dict[str, Any]):
    """A dict with attributes."""

    mix = False


class Chooses(dict[str, bool]):
    def __getitem__(self, key: str) -> bool:
        return bool(FLAGS["mix"])


class Factor(float):
    def __bool__(self) -> bool:
        return bool(FLAGS["mix"])


def box(make: Callable[[], Any], asked: Callable[[Any], Any], change: Callable[[Any], object]) -> Entry:
    """Return a network that asks what it holds, in which something changes."""
    return asks(lambda net: asked(net.box), lambda net: change(net.box), box=make)


def with_attribute(make: Callable[[], Any]) -> Callable[[], Any]:
    def made() -> Any:
        found = make()
        found.mix = False
        return found

    return made


BOXES: dict[str, Entry] = {
    "a list": box(lambda: [False], lambda box: box[0], lambda box: box.__setitem__(0, True)),
    "a dict of dicts": box(lambda: {"a": {"b": 0}}, lambda box: box["a"]["b"], lambda box: box["a"].update(b=1)),
    "a list in a tuple": box(lambda: ([False],), lambda box: len(box[0]) > 1, lambda box: box[0].append(1)),
    "a set in a dict": box(lambda: {"a": {2}}, lambda box: not box["a"], lambda box: box["a"].clear()),
    "an array": box(lambda: np.zeros(3), lambda box: box[0] > 0, lambda box: box.fill(1.0)),
    "slots": box(Slots, lambda box: box.mix, set_mix),
    "a dataclass": box(Options, lambda box: box.mix, set_mix),
    "an object that is called": box(Called, lambda box: box(), set_mix),
    "an object in a named tuple": box(lambda: Pair(Options()), lambda box: box.a.mix, lambda box: set_mix(box[0])),
    "the look-up of a dict": box(Chooses, lambda box: box["a"], mix),
    "the truth of a number": box(lambda: Factor(1.0), lambda box: box, mix),
    "keys of one text": box(lambda: {1: False, "1": 0}, lambda box: box[1], lambda box: box.update({1: True})),
    "the order of a dict": box(
        lambda: {"a": 1, "b": 1}, lambda box: next(iter(box)) == "b", lambda box: box.update(a=box.pop("a"))
    ),
    "what a built-in method belongs to": box(
        lambda: {"mix": False}.get, lambda box: box("mix"), lambda box: box.__self__.update(mix=True)
    ),
    "attributes of a dict": steps(
        mixing_if(lambda net: net.box.mix), box=with_attribute(Config), change=lambda net: set_mix(net.box)
    ),
}

# --- names that code computes, and what stands outside ----------------------------------------------------------------


class Softmax(nn.Softmax):
    """A module of torch's, and a class of the user's."""


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


def by_class_pattern(net: Any, x: Tensor) -> Tensor:
    match net:
        case Between(mix=True):
            return centred(x)
    return x


def by_import(net: Any, x: Tensor) -> Tensor:
    from settings_of_the_corpus import mix  # type: ignore[import-not-found]

    return centred(x) if mix else x


def of_all_relus(net: Any) -> None:
    nn.ReLU.forward = lambda self, x: centred(x)  # type: ignore[assignment, method-assign]


to_mix = {"mix": bool, "change": put("mix", True), "then": BATCH}
PLACED: dict[str, Entry] = {
    "a name that is in no code": folds(mixing_if(lambda net: operator.attrgetter("mix")(net)), **to_mix),
    "a name that is in no constant": folds(
        mixing_if(lambda net: operator.attrgetter(net.names[0])(net)), names=lambda: ["mix"], **to_mix
    ),
    "a text reads an attribute": folds(mixing_if(lambda net: "{net.mix}".format_map({"net": net}) == "True"), **to_mix),
    "a pattern reads an attribute": folds(by_class_pattern, **to_mix),
    "torch's code reads an attribute of a user's class": folds(
        module, module=lambda: Softmax(1), change=put("module.dim", 0), then=BATCH
    ),
    "a module is made in forward": folds(lambda net, x: Made()(x), change=lambda _: FLAGS.update(dim=0), then=BATCH),
    "a method of a class of torch's is replaced": folds(module, module=nn.ReLU, change=of_all_relus, then=BATCH),
    "an attribute of a function": asks(lambda _: getattr(flagged, "mix", False), lambda _: set_mix(flagged)),
    "an import in forward": folds(by_import, change=lambda _: set_mix(SETTINGS), then=BATCH),
    "the default dtype": asks(
        lambda _: torch.get_default_dtype() == torch.float64, lambda _: torch.set_default_dtype(torch.float64)
    ),
    # what cannot be looked at is a reason to step, before and after
    "an attribute of a scripted module": steps(
        module, module=lambda: torch.jit.script(Mixer()), change=lambda net: set_mix(net.module)
    ),
    "the environment": steps(
        mixing_if(lambda _: os.environ.get("MIX_SAMPLES")), change=lambda _: os.environ.update(MIX_SAMPLES="1")
    ),
    "deterministic algorithms": steps(
        mixing_if(lambda _: torch.are_deterministic_algorithms_enabled()),
        change=lambda _: torch.use_deterministic_algorithms(True),
    ),
}

# --- tensors that are looked for, by == and by hash; and what a copy of a network is not ------------------------------


def scalar(value: float = 2.0) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def with_others(code: Code, other: Callable[[Tensor], Any]) -> Whole:
    """Return a network with a tensor, and something that holds it."""

    def make() -> nn.Module:
        one = scalar()
        return Between(code, one=one, others=other(one))

    return Whole(make, (6,))


def looks(asked: Callable[[Any], Any], other: Callable[[Tensor], Any], one: Tensor | None = None) -> Entry:
    code, change = mixing_if(asked), put("one", scalar(3.0) if one is None else one)
    return folds(with_others(code, other), change=change, then="")


KEY = scalar()
KNOWN: list[Any] = []
BY_PART: dict[Any, bool] = {}
BY_IDENTITY: dict[int, bool] = {}


class Forgetful(Between):
    """Copies of it do not have all that it has."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "mix": False}


class Unlike:
    """The same of what is no module."""

    mix = True

    def __reduce_ex__(self, protocol: Any) -> Any:
        return with_attribute(Options), ()


def known(asked: Callable[[Any], bool], part: Callable[[Any], Any]) -> Entry:
    """Return a network, a part of which is kept outside of it."""

    def make() -> nn.Module:
        net = Between(mixing_if(asked), w=nn.Parameter(torch.ones(6, dtype=torch.float64)))
        KNOWN[:] = [part(net)]
        for known_by, key in ((BY_PART, part(net)), (BY_IDENTITY, id(part(net)))):
            known_by.clear()
            known_by[key] = True
        return net

    return steps(Whole(make, (6,)))


COPIES: dict[str, Entry] = {
    "a tensor in a list": looks(lambda net: net.one not in net.others, lambda one: [one]),
    "a tensor is a key": looks(lambda net: net.others.get(net.one) is None, lambda one: {one: 1}),
    "a key that is found later": looks(lambda net: net.others.get(net.one), lambda _: {KEY: 1}, KEY),
    "the network itself, kept outside": known(lambda net: any(each is net for each in KNOWN), lambda net: net),
    "its weight, as a key": known(lambda net: BY_PART.get(net.w, False), lambda net: net.w),
    "its identity, as a key": known(lambda net: BY_IDENTITY.get(id(net), False), lambda net: net),
    "a network that says what a copy has": steps(
        Whole(partial(Forgetful, mixing_if(lambda net: net.mix)), (6,)), "__getstate__ decides", mix=lambda: True
    ),
    "it says what a copy has": steps(mixing_if(lambda net: net.box.mix), "__reduce_ex__ decides", box=Unlike),
}
OBJECTS = BOXES | PLACED | COPIES
