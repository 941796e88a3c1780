"""Places that change as a whole, or from a distance, in which a test puts one number after the other."""

import enum
import types
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from spikingtorch import functional as F
from tests.functional.fused.trace.places import OWN, VALUES, Plain, advance, with_attribute, with_number

OUTER, WITHIN, COMING = (types.ModuleType(name) for name in ("outer", "inner", "coming"))
OUTER.inner, WITHIN.outer = WITHIN, OUTER  # type: ignore[attr-defined]
GAINS, HELD = {"number": 0.5}, [0.5]
ABOVE = {number: type("Above", (), {"number": number}) for number in VALUES}
BELOW: Any = type("Below", (ABOVE[0.5],), {})
REPLACED, OF_PARAMS, BELONGING = Plain(0.5), Plain(0.5), BELOW()


class Called:
    def __call__(self, state: F.IFState, x: Tensor) -> Any:
        return advance(state, x, HELD[0] * REPLACED.number)


class CalledModule(torch.nn.Module):
    def forward(self, state: F.IFState, x: Tensor) -> Any:
        return advance(state, x, HELD[0] * REPLACED.number)


class Member(enum.Enum):
    """An Enum with a method and members that hold something."""

    HARD = (0.5,)
    SOFT = (0.3,)

    def __init__(self, number: float) -> None:
        self.kept = [number]

    def scaled(self) -> Any:
        return REPLACED.number * self.kept[0]


def looks_up(made: Any) -> Any:
    """Return a step that reads what is looked up, in its closure, because pytest asks globals for attributes."""
    owner: Any = made if isinstance(made, types.ModuleType) else type("Own", (), {"__getattr__": made})()
    return lambda s, x: advance(s, x, owner.number)


def module_of_gains() -> types.ModuleType:
    module = types.ModuleType("gains")
    module.__getattr__ = GAINS.__getitem__  # type: ignore[method-assign]
    return module


def replaced(owner: Any) -> Callable[[float], None]:
    """Return what replaces all attributes of an object at once."""
    return lambda number: setattr(owner, "__dict__", {"number": number})


def come_or_go(number: float) -> None:
    if number == 0.6:
        delattr(COMING, "GONE")
    else:
        COMING.GONE = number  # type: ignore[attr-defined]


def is_there(module: Any) -> bool:
    return hasattr(module, "GONE")


def anew(kind: type[Any], name: str) -> Callable[[float], None]:
    """Return what gives a class another method."""
    return lambda number: setattr(kind, name, lambda self, state, x: advance(state, x, number))


class Sloped(torch.autograd.Function):
    """The identity with a slope that somebody may change."""

    slope = 0.5

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 1.0

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0] * Sloped.slope


CALLED, MODULE = Called(), CalledModule()
ANOTHER, ANOTHER_MODULE = type("Another", (Called,), {})(), type("AnotherModule", (CalledModule,), {})()
set_held, set_number = partial(HELD.__setitem__, 0), partial(with_number, REPLACED)
sloped: Any = Sloped.apply
# what is done with a number, a step that sees it, and what else it is given
DISTANT: dict[str, tuple[Any, ...]] = {
    "attributes of an object, all at once": (replaced(REPLACED), lambda s, x: advance(s, x, REPLACED.number)),
    "attributes of the step, all at once": (replaced(OWN), OWN),
    "attributes of a parameter, all at once": (
        replaced(OF_PARAMS),
        lambda s, x, settings: advance(s, x, settings.number),
        {"settings": OF_PARAMS},
    ),
    "attributes of a function, all at once": (replaced(with_attribute), with_attribute),
    "a name that comes and goes, hasattr": (come_or_go, lambda s, x: advance(s, x, 0.9 if is_there(COMING) else 0.1)),
    "a name that comes and goes, getattr": (come_or_go, lambda s, x: advance(s, x, getattr(COMING, "GONE", 0.1))),
    "a name that comes and goes, computed": (
        come_or_go,
        lambda s, x: advance(s, x, 0.9 if hasattr(COMING, "".join(["GO", "NE"])) else 0.1),
    ),
    "module rings": (partial(setattr, OUTER, "gain"), lambda s, x: advance(s, x, OUTER.inner.outer.inner.outer.gain)),
    "what an object that is called holds": (set_held, CALLED),
    "what an object that is called reads": (set_number, CALLED),
    "what a module that is called holds": (set_held, MODULE),
    "what a module that is called reads": (set_number, MODULE),
    "how an object is called": (anew(type(ANOTHER), "__call__"), ANOTHER),
    "how a module is called": (anew(type(ANOTHER_MODULE), "forward"), ANOTHER_MODULE),
    "what a member of an Enum holds": (
        lambda number: setattr(Member.SOFT, "kept", [number]),
        lambda s, x: advance(s, x, Member.HARD.scaled() + Member.SOFT.kept[0]),
    ),
    "what an Enum's member reads": (set_number, lambda s, x, kind: advance(s, x, kind.scaled()), {"kind": Member.SOFT}),
    "the method of an Enum": (
        lambda number: setattr(Member, "scaled", lambda self: number),
        lambda s, x: advance(s, x, Member.HARD.scaled()),
    ),
    "another class above": (
        lambda number: setattr(BELOW, "__bases__", (ABOVE[number],)),
        lambda s, x: advance(s, x, BELONGING.number),
    ),
    "what an object looks up": (partial(GAINS.__setitem__, "number"), looks_up(lambda self, name: GAINS[name])),
    "what a module looks up": (partial(GAINS.__setitem__, "number"), looks_up(module_of_gains())),
    "the slope of an own function": (partial(setattr, Sloped, "slope"), lambda s, x: advance(s, sloped(x), 0.5)),
}
