"""Places where the number of a step may live, in which a test puts one number after the other."""

import abc
import array
import collections
import contextvars
import dataclasses
import enum
import fractions
import math
import sys
import types
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import tests.fused_steps
from spikingtorch import functional as F
from tests import fused_steps
from tests.fused_steps import N, draw, leaky

VALUES = (0.5, 0.5, 0.6, 0.5, 0.7)
# puts a number where a step reads it; returns the step, and the params to call it with
Place = Callable[[Any], tuple[Any, dict[str, Any]]]
# makes of a number what a step has in its closure; reads it there
Make = Callable[[Any], Any]
Read = Callable[[Any], Any]
SLOPE, ALIVE = 0.5, dict[float, Any]()
HELPERS: dict[float, Callable[[], float]] = {0.5: lambda: 0.5, 0.6: lambda: 0.6, 0.7: lambda: 0.7}
HELPER = HELPERS[0.5]


def advance(state: F.IFState, x: Tensor, number: Any) -> tuple[F.IFState, Tensor]:
    v = number * state.v + x
    return F.IFState(v), 2 * v


# --- in the closure of a step -----------------------------------------------------------------------------------------


class Plain:
    def __init__(self, number: Any) -> None:
        self.number = number


class Slotted:
    __slots__ = ("number",)

    def __init__(self, number: float) -> None:
        self.number = number


class Scaled(NamedTuple):
    """A surrogate of the user's own, which reads a global number as well."""

    beta: float = 1.0

    def __call__(self, u: Any) -> Any:
        return self.beta * SLOPE * u


def with_number(content: Any, number: Any) -> Any:
    content.number = number
    return content


def with_first(content: Any, number: Any) -> None:
    content[0] = number


NUMBER: Read = lambda content: content.number  # noqa: E731
INNER: Read = lambda content: content.number[0].number  # noqa: E731
SIZE: Read = lambda content: content.shape[0] / 10  # noqa: E731
FIRST: Read = lambda content: content[0]  # noqa: E731
NAMED: Read = lambda content: content["number"]  # noqa: E731
Settings = collections.namedtuple("Settings", "number")
Kind = enum.Enum("Kind", {"HALF": 0.5, "MORE": 0.6, "MOST": 0.7})
Data = dataclasses.make_dataclass("Data", [("number", float)])
Frozen = dataclasses.make_dataclass("Frozen", [("number", float)], frozen=True)
Slots = dataclasses.make_dataclass("Slots", [("number", float)], slots=True)
HalfSlotted: Any = type("HalfSlotted", (Slotted,), {})  # has a dictionary, in which the number is not
Attributed: Any = type("Attributed", (dict,), {})
Hiding: Any = type("Hiding", (), {"__dict__": property(lambda _: {})})
Integer: Any = type("Integer", (int,), {})
Text: Any = type("Text", (str,), {"__slots__": ()})
SEEN: dict[str, tuple[Make, Read]] = {
    "number": (float, lambda content: content),
    "object": (Plain, NUMBER),
    "nested object": (lambda number: Plain([Plain(number)]), INNER),
    "dataclass": (Data, NUMBER),
    "frozen dataclass": (Frozen, NUMBER),
    "SimpleNamespace": (lambda number: types.SimpleNamespace(number=number), NUMBER),
    "NamedTuple": (Settings, NUMBER),
    "NamedTuple that is called": (Scaled, lambda content: content(1.0)),
    "list": (lambda number: [number], FIRST),
    "tuple": (lambda number: (number,), FIRST),
    "dict": (lambda number: {"number": number}, NAMED),
    "set": (lambda number: {number}, max),
    "string": (str, float),
    "numpy scalar": (np.float64, lambda content: content),
    "partial": (lambda number: partial(max, number), lambda content: content(0.0)),
    "keyword partial": (lambda number: partial(Settings, number=number), lambda content: content().number),
    "default of a helper": (lambda number: lambda found=number: found, lambda content: content()),
    "keyword default of a helper": (lambda number: lambda *, found=number: found, lambda content: content()),
}
# what keeps its content out of sight in part: right, on the loop if need be
UNSEEN: dict[str, tuple[Make, Read]] = {
    "Enum": (Kind, lambda content: content.value),
    "OrderedDict": (lambda number: collections.OrderedDict(number=number), NAMED),
    "defaultdict": (lambda number: collections.defaultdict(float, number=number), NAMED),
    "Counter": (lambda number: collections.Counter(number=number), NAMED),
    "deque": (lambda number: collections.deque([number]), FIRST),
    "MappingProxy": (lambda number: types.MappingProxyType({"number": number}), NAMED),
    "dict with an attribute": (lambda number: with_number(Attributed(), number), NUMBER),
    "integer of its own class": (lambda number: Integer(10 * number), lambda content: content / 10),
    "string of its own class": (Text, float),
    "Fraction": (fractions.Fraction, float),
    "range": (lambda number: range(int(10 * number)), lambda content: len(content) / 10),
    "bound method": (lambda number: Plain(number).__getattribute__, lambda content: content("number")),
    "attribute of a tensor": (lambda number: with_number(torch.zeros(2), number), NUMBER),
    "size of a tensor": (lambda number: torch.zeros(int(10 * number)), SIZE),
    "numbers of a tensor": (lambda number: torch.tensor([number]), lambda content: content.tolist()[0]),
    "nn module": (torch.nn.LeakyReLU, lambda content: content.negative_slope),
    "object that hides what it has": (lambda number: with_number(Hiding(), number), NUMBER),
    "slots": (Slotted, NUMBER),
    "slots of a base class": (HalfSlotted, NUMBER),
    "dataclass with slots": (Slots, NUMBER),
    "numpy array": (lambda number: np.array([number]), lambda content: float(content[0])),
    "numpy array of no axes": (np.array, lambda content: content.item()),
    "array": (lambda number: array.array("d", [number]), FIRST),
    "bytearray": (lambda number: bytearray([int(10 * number)]), lambda content: content[0] / 10),
    "beside a tensor": (lambda number: types.SimpleNamespace(number=number, beside=torch.ones(3)), NUMBER),
    "beside a sparse tensor": (lambda n: types.SimpleNamespace(number=n, beside=torch.ones(2, 2).to_sparse()), NUMBER),
    "beside a tensor without numbers": (
        lambda number: types.SimpleNamespace(number=number, beside=torch.ones(2, device="meta")),
        NUMBER,
    ),
    "weakref": (lambda number: weakref.ref(ALIVE.setdefault(number, Plain(number))), lambda content: content().number),
}


def rebound(make: Make, read: Read) -> Place:
    """Return a place in the closure of one step: its cell gets what is made of the number."""
    content: Any = None

    def step(state: F.IFState, x: Tensor) -> Any:
        return advance(state, x, read(content))

    def place(number: Any) -> Any:
        nonlocal content
        content = make(number)
        return step, {}

    return place


def another(make: Make, read: Read) -> Place:
    """Return a place in the closure of another step each time."""
    return lambda number: rebound(make, read)(number)


# --- around a step that stays the same --------------------------------------------------------------------------------


class Numbers:
    number = 0.5

    @classmethod
    def of_class(cls) -> float:
        return cls.number

    @staticmethod
    def of_module() -> float:
        return SLOPE

    def own(self) -> float:
        return self.number

    @property
    def seen(self) -> float:
        return SLOPE

    def __call__(self, state: F.IFState, x: Tensor) -> Any:
        return advance(state, x, self.number)


class Cell(torch.nn.Module):
    number: float

    def __init__(self) -> None:
        super().__init__()
        self.unread = torch.nn.Parameter(torch.tensor(10.0), requires_grad=False)

    def forward(self, state: F.IFState, x: Tensor) -> Any:
        return advance(state, x, self.number)


def helper() -> float:
    return SLOPE


def with_attribute(state: F.IFState, x: Tensor) -> Any:
    return advance(state, x, with_attribute.number)  # type: ignore[attr-defined]


def with_default(state: F.IFState, x: Tensor, decay: float = 0.5, *, gain: float = 1.0) -> Any:
    return advance(state, gain * x, decay)


def with_import(state: F.IFState, x: Tensor) -> Any:
    from tests.fused_steps import DECAY

    return advance(state, x, DECAY)


def module() -> Any:
    return fused_steps


def of_module(state: F.IFState, x: Tensor, of: Any = fused_steps) -> Any:
    return advance(state, x, of.DECAY)


def scaled(state: F.IFState, x: Tensor, scale: Any) -> Any:
    return advance(state, x, scale(1.0))


def first(state: F.IFState, x: Tensor, numbers: list[float]) -> Any:
    return advance(state, x, numbers[0])


class Abstract(abc.ABC):  # noqa: B024
    number = 0.5


HOLDER: dict[str, Any] = {"module": fused_steps}
GET = HOLDER.get
Inheriting: Any = type("Inheriting", (Numbers,), {})
Descriptor = type("Descriptor", (), {"__get__": lambda *_: SLOPE})
DESCRIBED: Any = type("Described", (), {"number": Descriptor()})()
INSTANCE, TABLE, SCALED, LIST, GAIN = Numbers(), {"numbers": Numbers}, Scaled(), [0.5], draw(N).requires_grad_()
OWN, CELL, VARIABLE = Numbers(), Cell(), contextvars.ContextVar("VARIABLE", default=0.5)
set_global, set_class = partial(globals().__setitem__, "SLOPE"), partial(setattr, Numbers, "number")
set_module, set_first = partial(setattr, fused_steps, "DECAY"), partial(with_first, LIST)
asked, space, asked_of = getattr, globals, partial(getattr, fused_steps)
# what is done with a number, a step that sees it, and what else it is given
AROUND: dict[str, tuple[Any, ...]] = {
    "global": (set_global, lambda state, x: advance(state, x, SLOPE)),
    "global of a nested helper": (set_global, lambda state, x: advance(state, x, sum(helper() for _ in "."))),
    "global by name": (set_global, lambda state, x: advance(state, x, globals()["SLOPE"])),
    "global by a static method": (set_global, lambda state, x: advance(state, x, Numbers.of_module())),
    "global by a property": (set_global, lambda state, x: advance(state, x, INSTANCE.seen)),
    "global by a descriptor": (set_global, lambda state, x: advance(state, x, DESCRIBED.number)),
    "global by a NamedTuple": (set_global, lambda state, x: advance(state, x, SCALED(1.0))),
    "helper": (lambda number: globals().update(HELPER=HELPERS[number]), lambda state, x: advance(state, x, HELPER())),
    "attribute of a module": (set_module, lambda state, x: advance(state, x, fused_steps.DECAY)),
    "attribute of a module in a package": (set_module, lambda state, x: advance(state, x, tests.fused_steps.DECAY)),
    "attribute of a module by name": (set_module, lambda state, x: advance(state, x, getattr(fused_steps, "DECAY"))),  # noqa: B009
    "attribute of a module by another getattr": (set_module, lambda s, x: advance(s, x, asked(fused_steps, "DECAY"))),
    "attribute of a module by a bound getattr": (set_module, lambda s, x: advance(s, x, asked_of("DECAY"))),
    "attribute of a module, asked": (
        set_module,
        lambda s, x: advance(s, x, fused_steps.__getattribute__("DECAY")),  # pyright: ignore[reportAttributeAccessIssue]
    ),
    "global by another globals": (set_global, lambda state, x: advance(state, x, space()["SLOPE"])),
    "global by a frame": (set_global, lambda s, x: advance(s, x, sys._getframe().f_globals["SLOPE"])),
    "import in the step": (set_module, with_import),
    "attribute of a module in a dict": (set_module, lambda state, x: advance(state, x, HOLDER["module"].DECAY)),
    "attribute of a module from a function": (set_module, lambda state, x: advance(state, x, module().DECAY)),
    "attribute of a module that is a default": (set_module, lambda s, x, m=fused_steps: advance(s, x, m.DECAY)),
    "attribute of a module by bound method": (set_module, lambda s, x: advance(s, x, GET("module", fused_steps).DECAY)),
    "attribute of a module among the params": (set_module, of_module),
    "abstract class attribute": (partial(setattr, Abstract, "number"), lambda s, x: advance(s, x, Abstract.number)),
    "class attribute": (set_class, lambda state, x: advance(state, x, Numbers.number)),
    "class attribute, inherited": (set_class, lambda state, x: advance(state, x, Inheriting.number)),
    "class attribute by an instance": (set_class, lambda state, x: advance(state, x, INSTANCE.number)),
    "class attribute by a method": (set_class, lambda state, x: advance(state, x, INSTANCE.own())),
    "class attribute by a class method": (set_class, lambda state, x: advance(state, x, Numbers.of_class())),
    "class attribute in a dict": (set_class, lambda state, x: advance(state, x, TABLE["numbers"].number)),
    "class attribute of the step": (set_class, INSTANCE),
    "attribute of the step": (partial(with_number, OWN), OWN),
    "attribute of a method's object": (partial(with_number, OWN), OWN.__call__),
    "attribute of a module that is the step": (partial(with_number, CELL), CELL),
    "function attribute": (partial(with_number, with_attribute), with_attribute),
    "default, changed": (lambda number: setattr(with_default, "__defaults__", (number,)), with_default),
    "keyword default, changed": (lambda n: setattr(with_default, "__kwdefaults__", {"gain": n}), with_default),
    "context variable": (VARIABLE.set, lambda state, x: advance(state, x, VARIABLE.get())),
    "list among the params": (set_first, first, {"numbers": LIST}),
    "list in a partial": (set_first, partial(first, numbers=LIST)),
    "NamedTuple among the params that reads a global": (set_global, scaled, {"scale": SCALED}),
}
# an object that changes in place: how it is changed, and read
CHANGED: dict[str, tuple[Any, Callable[[Any, Any], Any], Read]] = {
    "object": (Plain(0.5), with_number, NUMBER),
    "nested object": (Plain([Plain(0.5)]), lambda content, number: with_number(content.number[0], number), INNER),
    "SimpleNamespace": (types.SimpleNamespace(number=0.5), with_number, NUMBER),
    "list": ([0.5], with_first, FIRST),
    "growing list": ([0.5], list.append, sum),
    "dict": ({"number": 0.5}, lambda content, number: content.update(number=number), NAMED),
    "nested dict": ({"of": {}}, lambda content, number: content["of"].update(v=number), lambda c: c["of"]["v"]),
    "dict with an attribute": (Attributed(), with_number, NUMBER),
    "deque": (collections.deque([0.5]), with_first, FIRST),
    "slots": (Slotted(0.5), with_number, NUMBER),
    "attribute of a tensor": (torch.zeros(2), with_number, NUMBER),
    "size of a tensor": (torch.zeros(5), lambda content, number: content.resize_(int(10 * number)), SIZE),
    "numbers of a tensor": (torch.zeros(1), with_first, UNSEEN["numbers of a tensor"][1]),
    "numpy array": (np.zeros(1), with_first, UNSEEN["numpy array"][1]),
    "array": (array.array("d", [0.5]), with_first, FIRST),
}


def around(put: Callable[[Any], Any], step: Any, params: dict[str, Any] | None = None) -> Place:
    """Return a place around a step."""

    def place(number: Any) -> Any:
        put(number)
        return step, params or {}

    return place


def in_place(content: Any, change: Callable[[Any, Any], Any], read: Read) -> Place:
    """Return a place in an object in the closure of a step."""
    return around(partial(change, content), lambda state, x: advance(state, x, read(content)))


# --- given to a step --------------------------------------------------------------------------------------------------


def spiking(surrogate: Any) -> Any:
    return lambda state, x: leaky(state, x, decay=0.9, surrogate=surrogate), {}


GIVEN: dict[str, Place] = {
    "float": lambda number: (leaky, {"decay": number}),
    "integer": lambda n: (lambda state, x, power: advance(state, x, 0.9**power), {"power": int(n * 10)}),
    "tree": lambda n: (lambda state, x, tree: advance(state, x, tree["a"][0]), {"tree": {"a": [n]}}),
    "object among the params": lambda n: (lambda state, x, of: advance(state, x, of.number), {"of": Plain(n)}),
    "NamedTuple among the params": lambda number: (scaled, {"scale": Scaled(number)}),
    "function among the params": lambda number: (scaled, {"scale": lambda u: number * u}),
    "member of an Enum": lambda n: (
        lambda state, x, kind: advance(state, x, 0.5 if kind is Kind.HALF else 0.7),
        {"kind": Kind(n)},
    ),
    "default": lambda n: (lambda state, x, decay=n: advance(state, x, decay), {}),
    "keyword default": lambda n: (lambda state, x, *, decay=n: advance(state, x, decay), {}),
    "positional default": lambda n: (lambda state, x, decay=n, /: advance(state, x, decay), {}),
    "NamedTuple in a default": lambda n: (lambda state, x, scale=Scaled(n): scaled(state, x, scale), {}),  # noqa: B008
    "used twice": lambda n: (lambda state, x: leaky(state, x, decay=n, threshold=0.9 * n), {}),
    "partial": lambda number: (partial(leaky, decay=number, threshold=0.8), {}),
    "positional partial": lambda n: (partial(lambda decay, state, x: advance(state, x, decay), n), {}),
    "partial of a partial": lambda n: (partial(partial(leaky, decay=0.1, threshold=0.9), decay=n), {}),
    "method": lambda number: (with_number(Numbers(), number).__call__, {}),
    "callable": lambda number: (with_number(Numbers(), number), {}),
    "module": lambda number: (with_number(Cell(), number), {}),
    "float beside a tensor": lambda n: (
        lambda state, x, tau, gain: advance(state, gain * x, math.exp(-1.0 / tau)),
        {"tau": n, "gain": GAIN},
    ),
    "surrogate among the params": lambda n: (leaky, {"decay": 0.9, "surrogate": F.Sigmoid(beta=1.0 + 10 * n)}),
    "surrogate": lambda number: spiking(F.Arctan(1.0 + 10 * number)),
    "surrogate of a function": lambda n: spiking(F.FromPrimitive(lambda u: torch.tanh((1.0 + 10 * n) * u))),
}
NEAR = {
    **GIVEN,
    **{name: around(*row) for name, row in AROUND.items()},
    **{f"{name} that changes in place": in_place(*row) for name, row in CHANGED.items()},
    **{f"{name} in a cell": rebound(*row) for name, row in (SEEN | UNSEEN).items()},
    **{f"{name} in another cell": another(*row) for name, row in (SEEN | UNSEEN).items()},
}
