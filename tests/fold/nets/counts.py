"""Code that counts its calls, wherever the count is kept: in the network, or outside of it."""

import itertools
import types
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.fold.nets.entry import Between, Code, Entry, between, buffer, hides, linear, module, steps

# --- counts, wherever they are kept -----------------------------------------------------------------------------------


def alternately(count: Callable[[Any], Any]) -> Code:
    """Return code that doubles every other input, by a count of its calls."""
    return lambda net, x: x * float(1 + count(net) % 2)


@dataclass
class Counter:
    """Counts in an attribute, and in a method."""

    n: int = 0

    def __call__(self) -> int:
        self.n += 1
        return self.n


class Slots:
    """Counts where ``vars`` does not show it."""

    __slots__ = ("__private", "n")

    def __init__(self) -> None:
        self.n = self.__private = 0

    def open(self) -> int:
        self.n += 1
        return self.n

    def mangled(self) -> int:
        self.__private += 1
        return self.__private


class Reads:
    """An attribute that counts how often it is read."""

    n = 0

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        self.n += owner is not None
        return self if owner is None else self.n


class CountingModule(Counter, nn.Module):
    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.n = 0

    __hash__ = nn.Module.__hash__  # pyright: ignore[reportAssignmentType]


class ScriptedCounter(nn.Module):
    n: int

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def forward(self, x: Tensor) -> Tensor:
        self.n = self.n + 1
        if self.n > 4:
            return x * 0.5
        return x


class Missing(dict[str, int]):
    """A dict whose look-up counts."""

    n = 0

    def __missing__(self, key: str) -> int:
        self.n += 1
        return self.n


def closure() -> Callable[[], int]:
    calls = 0

    def count() -> int:
        nonlocal calls
        calls += 1
        return calls

    return count


def longer(calls: list[int]) -> int:
    calls.append(1)
    return len(calls)


def closure_over_a_list() -> Callable[[], int]:
    calls: list[int] = []
    return lambda: longer(calls)


def default_argument() -> Callable[[], int]:
    def count(calls: list[int] = []) -> int:  # noqa: B006
        return longer(calls)

    return count


def closure_over_a_tensor() -> Callable[[], Tensor]:
    rate = torch.ones((), dtype=torch.float64)
    return lambda: rate.mul_(0.9)


def add_one(counts: Any, key: Any) -> Any:
    counts[key] += 1
    return counts[key]


def increased(owner: Any) -> int:
    owner.n += 1
    return int(owner.n)


def one_more(owner: Any, name: str = "n") -> int:
    setattr(owner, name, getattr(owner, name, 0) + 1)
    return int(getattr(owner, name))


def counts(reason: str, make: Callable[[], Any], count: Callable[[Any], Any], says: str = "") -> Entry:
    """Return an entry that counts its calls by a part of the network."""
    return steps(reason, between(alternately(lambda net: count(net.part)), part=make), says)


def called(part: Any) -> Any:
    return part()


COUNTS: dict[str, Entry] = {
    "an attribute": steps(
        "of the network", between(alternately(lambda net: one_more(net, "count")), count=int), "changes count"
    ),
    "an object": counts("of an object", Counter, increased, r"changes part\.n"),
    "a method": counts("by a method of an object", lambda: Counter().__call__, called),
    "a class": counts("of a class", lambda: type("Counter", (), {"n": 0}), increased),
    "a dict": counts("an entry", lambda: {"n": 0}, lambda part: add_one(part, "n")),
    "deep within": counts(
        "an entry of an entry", lambda: {"a": [{"b": [{"n": 0}]}]}, lambda part: add_one(part["a"][0]["b"][0], "n")
    ),
    "a dict that counts": hides("a look-up runs code", between(alternately(lambda net: net.part["n"]), part=Missing)),
    "a descriptor": hides(
        "reading an attribute runs code",
        between(alternately(lambda net: net.part.n), part=lambda: type("Described", (), {"n": Reads()})()),
    ),
    "a closure": counts("a variable of a closure", closure, called),
    "a list closed over": counts("a list of a closure", closure_over_a_list, called),
    "a default argument": counts("a list of a function", default_argument, called),
    "a partial": counts("an argument that is given before", lambda: partial(longer, []), called, r"changes part\.args"),
    "arguments of a partial": counts(
        "... which the network reads", lambda: partial(len, []), lambda part: longer(part.args[0])
    ),
    "a tensor closed over": steps(
        "a tensor that is written on", between(lambda net, x: x * net.part().clone(), part=closure_over_a_tensor)
    ),
    "slots": counts("what vars does not show", Slots, lambda part: part.open()),
    "private slots": counts("names that are mangled", Slots, lambda part: part.mangled()),
    "an array of numpy": counts("memory of numpy", lambda: np.zeros(1), lambda part: add_one(part, 0)),
    "a queue": counts(
        "a queue that forgets", lambda: deque([0.0], maxlen=4), lambda part: (part.append(part[-1] + 1), part[0])[1]
    ),
    "a generator": counts("what it yields next", lambda: (i for i in range(99)), next),
    "an iterator": counts("what it counts next", itertools.count, next),
    "a module": counts("of a module", CountingModule, increased),
    "a module in a list": counts(
        "... that is not registered", lambda: [CountingModule()], lambda part: one_more(part[0])
    ),
    "a module of torch's": counts("... of torch's own class", nn.Identity, one_more),
    "an iterator on a module of torch's": steps(
        "what cannot be looked into",
        between(
            alternately(lambda net: next(net.part.count)), part=lambda: with_attribute(nn.Identity(), itertools.count())
        ),
    ),
    "a spiking layer": steps("of the library's own class", between(alternately(lambda net: one_more(net.spiking)))),
    "a parameter": counts("of a tensor", linear(), lambda part: one_more(part.bias)),
    "a scripted module": hides("code that is not in sight", module(lambda: torch.jit.script(ScriptedCounter()))),
}


def with_attribute(owner: Any, count: Any) -> Any:
    owner.count = count
    return owner


# --- counts outside of the network ------------------------------------------------------------------------------------


class Single(Counter):
    """There is one of it."""

    def __deepcopy__(self, memo: Any) -> "Single":
        return self


@torch.library.custom_op("spikingtorch_table::fading_gain", mutates_args=())
def fading_gain(weight: Tensor) -> Tensor:
    return weight * (0.5 if longer(LOG) > 4 else 1.0)


@torch.library.custom_op("spikingtorch_table::record", mutates_args=())
def record(x: Tensor) -> None:
    LOG.append(1)


LOG: list[int] = []
SINGLE, SLOTS, SETTINGS = Single(), Slots(), types.ModuleType("settings_of_the_table")


def clear() -> None:
    LOG.clear()
    SINGLE.n = SLOTS.n = SETTINGS.n = 0  # type: ignore[attr-defined]


def outside(reason: str, code: Code, part: Callable[[], Any] = lambda: None) -> Entry:
    """Return an entry whose code is to run once a step, as what it leaves outside shows; a proof leaves nothing."""
    return hides(reason, between(code, part=part), kept=(lambda: len(LOG) + SINGLE.n + SLOTS.n + SETTINGS.n, clear))


def then(count: Callable[[Any], Any]) -> Code:
    return lambda net, x: (count(net), x)[1]


def another_forward() -> nn.Module:
    part = nn.Identity()
    part.forward = lambda x: (longer(LOG), x)[1]  # type: ignore[method-assign, assignment]
    return part


def hooked_and_hidden() -> list[nn.Module]:
    relu = nn.ReLU()
    relu.register_forward_hook(lambda *args: LOG.append(1))
    return [relu]


def of_the_network() -> nn.Module:
    net: Any = Between(lambda net, x: (net.note(1), x)[1], log=[])
    net.note = lambda value: net.log.append(value)
    return net  # type: ignore[no-any-return]


OUTSIDE: dict[str, Entry] = {
    "global slots": outside("slots of an object that is found by its name", then(lambda net: increased(SLOTS))),
    "a module of Python": outside("names of a module", then(lambda net: increased(SETTINGS))),
    "a singleton": outside("what deepcopy does not copy", then(lambda net: increased(net.part)), lambda: SINGLE),
    "a bound append": outside("a list by a method that is built in", then(lambda net: net.part(1)), lambda: LOG.append),
    "another forward": outside("a forward of an object, not of its class", lambda net, x: net.part(x), another_forward),
    "a hook": outside("a hook of a module that is not registered", lambda net, x: net.part[0](x), hooked_and_hidden),
    "an operation": outside(
        "one without outputs", lambda net, x: (torch.ops.spikingtorch_table.record(x.detach()), x)[1]
    ),
    "an operation on weights": outside(
        "one that is not known", lambda net, x: x * torch.ops.spikingtorch_table.fading_gain(net.part), buffer(6)
    ),
    "the network closed over": hides("a function of a copy closes over the network itself", of_the_network),
}


COUNTED = {f"counted by {name}": entry for name, entry in (COUNTS | OUTSIDE).items()}
