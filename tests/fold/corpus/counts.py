"""Code that counts its calls, wherever the count is kept: in the network, or outside of it."""

import itertools
import sys
from collections import deque
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.fold.corpus import shared_code
from tests.fold.corpus.entry import Between, Code, Entry, Whole, buffer, folds, hides, linear, steps
from tests.fold.corpus.outside import LOG, SETTINGS, SINGLE, SLOTS


def alternately(count: Callable[[Any], Any]) -> Code:
    """Return code that doubles every other input, by a count of its calls."""
    return lambda net, x: x * float(1 + count(net) % 2)


def counts(make: Callable[[], Any], count: Callable[[Any], Any], says: str = "") -> Entry:
    """Return an entry that counts its calls by a part of the network."""
    return steps(alternately(lambda net: count(net.part)), says, part=make)


def outside(code: Code, part: Callable[[], Any] = lambda: None) -> Entry:
    """Return an entry whose code is to run once a step, as what it leaves outside shows; a proof leaves nothing."""
    return hides(code, part=part)


class Counter:
    """Counts in an attribute, and in a method."""

    n = 0

    def __call__(self) -> int:
        self.n += 1
        return self.n


class Slots:
    """Counts where ``vars`` does not show it."""

    __slots__ = ("__private", "n")

    def __init__(self) -> None:
        self.n = self.__private = 0

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
    """The same in a module."""


class Missing(dict[str, int]):
    """A dict whose look-up counts."""

    n = 0

    def __missing__(self, key: str) -> int:
        self.n += 1
        return self.n


class Cached(Between):
    @lru_cache  # noqa: B019
    def gain(self) -> float:
        LOG.append(1)
        return 1.0


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


def called(part: Any) -> Any:
    return part()


def with_attribute(owner: Any, count: Any) -> Any:
    owner.count = count
    return owner


@torch.library.custom_op("spikingtorch_corpus::fading_gain", mutates_args=())
def fading_gain(weight: Tensor) -> Tensor:
    return weight * (0.5 if longer(LOG) > 4 else 1.0)


@torch.library.custom_op("spikingtorch_corpus::record", mutates_args=())
def record(x: Tensor) -> None:
    LOG.append(1)


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
    return net


ONCE = ", which is to be called at each step"
COUNTED: dict[str, Entry] = {
    "an attribute counts": steps(alternately(lambda net: one_more(net, "count")), "changes count", count=int),
    "an object counts": counts(Counter, increased, r"changes part\.n"),
    "a class counts": counts(lambda: type("Counter", (), {"n": 0}), increased),
    "a dict within counts": counts(lambda: {"a": [{"b": [{"n": 0}]}]}, lambda part: add_one(part["a"][0]["b"][0], "n")),
    "a look-up counts": hides(alternately(lambda net: net.part["n"]), part=Missing),
    "reading counts": hides(alternately(lambda net: net.part.n), part=lambda: type("Described", (), {"n": Reads()})()),
    "a variable of a closure counts": counts(closure, called),
    "a default argument counts": counts(default_argument, called),
    "an argument that is given before counts": counts(lambda: partial(longer, []), called, r"changes part\.args"),
    "a tensor of a closure is written on": steps(lambda net, x: x * net.part().clone(), part=closure_over_a_tensor),
    "a mangled slot counts": counts(Slots, lambda part: part.mangled()),
    "an array of numpy counts": counts(lambda: np.zeros(1), lambda part: add_one(part, 0)),
    "a queue forgets": counts(lambda: deque([0.0], maxlen=4), lambda part: (part.append(part[-1] + 1), part[0])[1]),
    "a generator goes on": counts(lambda: (i for i in range(99)), next),
    "an iterator goes on": counts(itertools.count, next),
    "an iterator that no code reads": folds(lambda net, x: x, part=itertools.count),
    "a module counts": counts(CountingModule, increased),
    "a module that is not registered counts": counts(lambda: [CountingModule()], lambda part: one_more(part[0])),
    "a module of torch's class counts": counts(nn.Identity, one_more),
    "a module of torch's class has an iterator": steps(
        alternately(lambda net: next(net.part.count)), part=lambda: with_attribute(nn.Identity(), itertools.count())
    ),
    "a spiking layer counts": steps(alternately(lambda net: one_more(net.spiking))),
    "a parameter counts": counts(linear(), lambda part: one_more(part.bias)),
    # outside of the network
    "slots of a global object": outside(then(lambda net: increased(SLOTS))),
    "names of a module of Python": outside(then(lambda net: increased(SETTINGS))),
    "an object that is not copied": outside(then(lambda net: increased(net.part)), lambda: SINGLE),
    "a list, by a built-in method": outside(then(lambda net: net.part(1)), lambda: LOG.append),
    "a forward of an object, not of its class": outside(lambda net, x: net.part(x), another_forward),
    "a hook of a module that is not registered": outside(lambda net, x: net.part[0](x), hooked_and_hidden),
    "an operation without outputs": outside(lambda net, x: (torch.ops.spikingtorch_corpus.record(x.detach()), x)[1]),
    "an operation of weights that is not known": outside(
        lambda net, x: x * torch.ops.spikingtorch_corpus.fading_gain(net.part), buffer(6)
    ),
    "a function of a copy closes over the network": hides(Whole(of_the_network, (6,))),
    "a method is cached": hides(Whole(partial(Cached, lambda net, x: x * net.gain()), (6,))),
    "prints": steps(lambda net, x: shared_code.tell(x), "calls print" + ONCE),
    "writes": steps(lambda net, x: (sys.stdout.write("."), x)[1], "calls stdout" + ONCE),
    "makes folders": steps(lambda net, x: shared_code.make_folder(x), "calls makedirs" + ONCE),
    "moves files": steps(lambda net, x: shared_code.move_folder(x), "calls rename of os" + ONCE),
    "a helper of another file keeps tensors": steps(lambda net, x: shared_code.log(x)),
    "a helper counts in its own file": steps(lambda net, x: shared_code.count(x)),
    "a helper is handed its module": steps(lambda net, x: shared_code.count_in(shared_code, x)),
    "a helper gives its module a name": steps(lambda net, x: shared_code.note(shared_code, x)),
}
