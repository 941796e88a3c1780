"""What changes in place, or in a look-up, without another object where a network keeps something."""

from collections.abc import Callable
from enum import Enum
from operator import attrgetter
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from tests.fold.attacks.holes import case, decides_anew, mixing_if, readout
from tests.nets_that_step import centred, train

pytestmark = pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning")

PLACES: dict[str, tuple[Callable[[Any, Tensor], object], Callable[[Any], Tensor]]] = {
    "an attribute": (lambda net, mask: setattr(net, "mask", mask), lambda net: net.mask),
    "a buffer": (lambda net, mask: net.register_buffer("mask", mask), lambda net: net.mask),
    "a parameter": (lambda net, mask: setattr(net, "mask", nn.Parameter(mask, False)), lambda net: net.mask),
    "a dict": (lambda net, mask: setattr(net, "mask", {"a": mask}), lambda net: net.mask["a"]),
    "a list": (lambda net, mask: setattr(net, "mask", [mask]), lambda net: net.mask[0]),
    "a tuple": (lambda net, mask: setattr(net, "mask", (mask,)), lambda net: net.mask[0]),
    "a module of torch": (lambda net, mask: net.l1.bias.requires_grad_(False), lambda net: net.l1.bias),
}


def shape(mask: Tensor) -> None:
    mask.data = mask.data[None]


def dtype(mask: Tensor) -> None:
    mask.data = mask.data.to(torch.float16)


def given(mask: Tensor) -> None:
    mask.chosen = True  # type: ignore[attr-defined]


CHANGES: dict[str, tuple[Callable[[Tensor], object], Callable[[Tensor], Any]]] = {
    "shape": (shape, lambda mask: mask.ndim == 2),
    "dtype": (dtype, lambda mask: mask.dtype == torch.float16),
    "gradient": (lambda mask: mask.requires_grad_(), lambda mask: mask.requires_grad),
    "attribute": (given, lambda mask: getattr(mask, "chosen", False)),
}


# a layer whose weights are of several dtypes does not run
TOGETHER = {(place, "dtype") for place in ("a module of torch", "a parameter")}


@pytest.mark.parametrize(
    ("place", "change"), [(place, change) for place in PLACES for change in CHANGES if (place, change) not in TOGETHER]
)
def test_a_tensor_that_changes_in_place_is_seen(place: str, change: str) -> None:
    put, mask = PLACES[place]
    changes, asks = CHANGES[change]

    def make() -> Any:
        net = readout(mixing_if(lambda net: asks(mask(net)))).double()
        put(net, torch.ones(6, dtype=torch.float64))
        return net

    decides_anew(make, lambda net: changes(mask(net)))


def tensor(value: float = 2.0) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def with_pair(asked: Callable[[Any], Any], **attributes: Any) -> Callable[[], Any]:
    def make() -> Any:
        one = tensor()
        kept = {name: value(one) for name, value in attributes.items()}
        return readout(mixing_if(asked), one=one, **kept)

    return make


LOOKED_FOR = [
    case("in a list", with_pair(lambda net: net.one not in [net.other], other=lambda one: one), "=="),
    case("in a kept list", with_pair(lambda net: net.one not in net.others, others=lambda one: [one]), "=="),
    case("counted", with_pair(lambda net: not net.others.count(net.one), others=lambda one: [one]), "=="),
    case("a key", with_pair(lambda net: net.others.get(net.one) is None, others=lambda one: {one: 1}), "hash"),
    case("a set", with_pair(lambda net: net.one not in net.others, others=lambda one: {one}), "hash"),
]


@pytest.mark.parametrize("make", LOOKED_FOR)
def test_a_tensor_that_is_looked_for_is_proven_anew(make: Callable[[], Any]) -> None:
    decides_anew(make, lambda net: setattr(net, "one", tensor(3.0)))


def test_a_tensor_that_is_found_later() -> None:
    key = tensor()
    make = with_pair(lambda net: net.others.get(net.one), others=lambda _: {key: 1})
    decides_anew(make, lambda net: setattr(net, "one", key))


OPTIONS = {"mix": False}
CALLS: list[int] = []


class Chooses(dict[str, bool]):
    def __getitem__(self, key: str) -> bool:
        return OPTIONS["mix"]


class Counts(dict[str, bool]):
    def __missing__(self, key: str) -> bool:
        CALLS.append(1)
        return len(CALLS) > 4


class Kind(Enum):
    PLAIN = 1

    def applied(self, x: Tensor) -> Tensor:
        return centred(x) if OPTIONS["mix"] else x


class Factor(float):
    def __bool__(self) -> bool:
        return OPTIONS["mix"]


OWN_CODE = [
    case("a dict", lambda: readout(mixing_if(lambda net: net.kept["a"]), kept=Chooses()), "its class"),
    case("a member", lambda: readout(lambda net, x, init: net.kept.applied(x), kept=Kind.PLAIN), "its class"),
    case("a number", lambda: readout(mixing_if(lambda net: net.kept), kept=Factor(1.0)), "its class"),
]


@pytest.mark.parametrize("make", OWN_CODE)
def test_code_of_what_looks_plain_is_looked_into(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPTIONS, "mix", False)
    decides_anew(make, lambda net: monkeypatch.setitem(OPTIONS, "mix", True))


def test_a_dict_that_counts_steps() -> None:
    found = []
    for mode in ("auto", "step"):
        torch.manual_seed(0)
        CALLS.clear()
        net = readout(mixing_if(lambda net: net.kept["a"]), kept=Counts()).double()
        found.append(st.SpikingNet(net, 3, mode=mode)(train()))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize(
    "asked", [lambda net: attrgetter(net.names[0])(net), lambda net: "{net.mix}".format_map({"net": net}) == "True"]
)
def test_attributes_that_are_read_by_name(asked: Callable[[Any], Any]) -> None:
    decides_anew(lambda: readout(mixing_if(asked), names=["mix"], mix=False), lambda net: setattr(net, "mix", True))
