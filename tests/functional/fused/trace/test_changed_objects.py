"""What a step reads of objects, threads and modules is what they hold now."""

import enum
import threading
import types
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.modules.module import register_module_forward_hook

from spikingtorch import functional as F
from tests.functional.fused.trace.places import OWN, Plain, advance, around, with_attribute, with_number
from tests.functional.fused.trace.test_places import VALUES, agrees

X = torch.rand(9, 300, generator=torch.Generator().manual_seed(0))


class Settings:
    def __init__(self) -> None:
        self.gain = 0.5


def reading(settings: Any) -> Callable[..., Any]:
    def step(state: F.IFState, x: Tensor) -> Any:
        return advance(state, x, settings.gain)

    return step


def assert_as_the_loop(step: Any, **params: Any) -> None:
    fused, loop = (F.scan(step, F.IFState(torch.zeros(300)), X, params=params, backend=b)[1] for b in ("auto", "loop"))
    assert torch.equal(fused, loop)


# --- places that change as a whole, or from a distance ----------------------------------------------------------------

OUTER, INNER, COMING = (types.ModuleType(name) for name in ("outer", "inner", "coming"))
OUTER.inner, INNER.outer = INNER, OUTER  # type: ignore[attr-defined]
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


CALLED, MODULE = Called(), CalledModule()
ANOTHER, ANOTHER_MODULE = type("Another", (Called,), {})(), type("AnotherModule", (CalledModule,), {})()
set_held, set_number = partial(HELD.__setitem__, 0), partial(with_number, REPLACED)
# what is done with a number, a step that sees it, and what else it is given
PLACES: dict[str, tuple[Any, ...]] = {
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
    "modules that hold each other": (
        partial(setattr, OUTER, "gain"),
        lambda s, x: advance(s, x, OUTER.inner.outer.inner.outer.gain),
    ),
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
    "what a member of an Enum reads": (
        set_number,
        lambda s, x, kind: advance(s, x, kind.scaled()),
        {"kind": Member.SOFT},
    ),
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
}
ON_THE_LOOP = {"a name that comes and goes, computed"}


@pytest.mark.filterwarnings("ignore:scan. .*on the Python loop")
@pytest.mark.parametrize("name", PLACES)
def test_a_number_is_read_where_it_lives(name: str) -> None:
    for _ in range(2):
        agrees(around(*PLACES[name]), runs_fused=name not in ON_THE_LOOP)


# --- what a number does not tell --------------------------------------------------------------------------------------


def test_a_set_of_equal_numbers_of_another_kind() -> None:
    gains: set[Any] = {1}

    def step(state: F.IFState, x: Tensor) -> Any:
        return advance(state, x, 0.5 if any(type(gain) is int for gain in gains) else 0.9)

    for gain in (1, 1.0):
        gains.clear()
        gains.add(gain)
        assert_as_the_loop(step)


@pytest.mark.filterwarnings("ignore:scan. .*on the Python loop")
def test_what_each_thread_has_for_itself() -> None:
    local, errors = threading.local(), list[BaseException]()
    step = reading(local)

    def run(gain: float) -> None:
        local.gain = gain
        try:
            assert_as_the_loop(step)
        except BaseException as error:
            errors.append(error)

    run(0.5)
    thread = threading.Thread(target=run, args=(0.9,))
    thread.start()
    thread.join()
    assert not errors


@pytest.mark.filterwarnings("ignore:scan. .*on the Python loop")
def test_hooks_of_all_modules_are_called() -> None:
    class Halving(torch.nn.Module):
        def forward(self, state: F.IFState, x: Tensor) -> Any:
            return advance(state, x, 0.5)

    step = Halving()
    assert_as_the_loop(step)
    called: list[int] = []

    def hook(module: Any, args: Any, result: Any) -> Any:
        called.append(1)
        return result[0], 3 * result[1]

    handle = register_module_forward_hook(hook)
    try:
        assert_as_the_loop(step)
    finally:
        handle.remove()
    assert len(called) == 2 * len(X)
    assert_as_the_loop(step)
    assert F.explain_scan(step, F.IFState(torch.zeros(300)), X).backend == "fused"


def test_tensors_of_transforms_in_a_closure() -> None:
    def of(weight: Tensor, backend: Any = "auto") -> Tensor:
        step: Any = lambda state, x: advance(state, x * weight, 0.5)  # noqa: E731
        out: Tensor = F.scan(step, F.IFState(torch.zeros(300)), X, backend=backend)[1]
        return out

    weights = X[:2]
    want = torch.stack([of(weight, "loop") for weight in weights])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        assert torch.equal(torch.func.vmap(of)(weights), want)
        slopes = torch.func.grad(lambda weight: of(weight).sum())(weights[0])
    assert torch.equal(slopes, torch.func.grad(lambda weight: of(weight, "loop").sum())(weights[0]))


@pytest.mark.parametrize("held", [torch.ones(2, 2).to_sparse(), torch.ones(2, device="meta"), torch.ones(3)])
def test_a_tensor_that_is_there_and_not_read(held: Tensor) -> None:
    settings = Settings()
    settings.weight = held  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        assert_as_the_loop(reading(settings))
    fused = F.explain_scan(reading(settings), F.IFState(torch.zeros(300)), X).backend == "fused"
    assert fused == (held.layout is torch.strided)


def caught(x: Tensor) -> float:
    try:
        return 0.0 * float(x.view(3, 100).sum()) + 0.5
    except RuntimeError:
        return 0.9


def catching(x: Tensor) -> float:
    return caught(x)


AN_OBJECT: Any = type("Named", (), {"gain": 1.0, "unused": catching, "__getitem__": lambda self, x: caught(x)})()


@pytest.mark.filterwarnings("ignore:scan. .*on the Python loop")
def test_a_function_that_is_a_method_nobody_calls_as_well() -> None:
    """It is met first where it is not called, and then where it is."""
    steps: list[Any] = [
        lambda state, x: advance(state, x, AN_OBJECT.gain * catching(x)),
        lambda state, x: advance(state, x, AN_OBJECT[x]),
        lambda state, x: advance(state, x, getattr(AN_OBJECT, "unused").__func__(x)),  # noqa: B009
    ]
    for step in steps:
        assert_as_the_loop(step)
        assert "error that it catches" in F.explain_scan(step, F.IFState(torch.zeros(300)), X).reason
