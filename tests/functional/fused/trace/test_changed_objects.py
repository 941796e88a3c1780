"""What a step reads of objects, threads and modules is what they hold now."""

import threading
import types
import warnings
from collections.abc import Callable
from enum import Enum
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.modules.module import register_module_forward_hook

from spikingtorch import functional as F

X = torch.rand(9, 300, generator=torch.Generator().manual_seed(0))


class Settings:
    def __init__(self) -> None:
        self.gain = 0.5


class Neuron(Settings):
    def __call__(self, state: F.IFState, x: Tensor) -> Any:
        return advance(self.gain, state, x)


def advance(gain: float, state: F.IFState, x: Tensor) -> Any:
    v = gain * state.v + x
    return F.IFState(v), v


def reading(settings: Any) -> Callable[..., Any]:
    def step(state: F.IFState, x: Tensor) -> Any:
        return advance(settings.gain, state, x)

    return step


def of_parameter(state: F.IFState, x: Tensor, *, settings: Settings) -> Any:
    return advance(settings.gain, state, x)


DEFAULT = Settings()


def function() -> None:
    """Has an attribute."""


def assert_as_the_loop(step: Any, **params: Any) -> None:
    fused, loop = (F.scan(step, F.IFState(torch.zeros(300)), X, params=params, backend=b)[1] for b in ("auto", "loop"))
    assert torch.equal(fused, loop)


module = types.ModuleType("settings_of_a_step")
ASKED: dict[str, Callable[[Any, Any], Any]] = {
    "hasattr": lambda state, x: advance(0.9 if hasattr(module, "SLOW") else 0.1, state, x),
    "getattr": lambda state, x: advance(getattr(module, "SLOW", 0.1), state, x),
    "a computed name": lambda state, x: advance(0.9 if hasattr(module, "".join(["SL", "OW"])) else 0.1, state, x),
    "in a helper": lambda state, x: advance(gain_of(module), state, x),
}


def gain_of(settings: Any) -> float:
    return 0.9 if hasattr(settings, "SLOW") else 0.1


@pytest.mark.filterwarnings("ignore:scan. .*on the Python loop")
@pytest.mark.parametrize("asked", ASKED)
def test_a_name_that_comes_and_goes_in_a_module(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_as_the_loop(ASKED[asked])
    monkeypatch.setattr(module, "SLOW", 0.5, raising=False)
    assert_as_the_loop(ASKED[asked])
    monkeypatch.delattr(module, "SLOW")
    assert_as_the_loop(ASKED[asked])


@pytest.mark.parametrize("kind", ["closure", "step", "parameter", "function"])
def test_the_attributes_of_an_object_are_replaced_all_at_once(kind: str) -> None:
    settings: Any = function if kind == "function" else Neuron()
    settings.gain = 0.5
    step: Any = {"step": settings, "parameter": of_parameter}.get(kind, reading(settings))
    params = {"settings": settings} if kind == "parameter" else {}
    for gain in (0.5, 0.9, 0.5):
        settings.__dict__ = {"gain": gain}
        assert_as_the_loop(step, **params)


def test_a_set_of_equal_numbers_of_another_kind() -> None:
    gains: set[Any] = {1}

    def step(state: F.IFState, x: Tensor) -> Any:
        return advance(0.5 if any(type(gain) is int for gain in gains) else 0.9, state, x)

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


def test_modules_that_hold_each_other() -> None:
    outer, inner = types.ModuleType("outer"), types.ModuleType("inner")
    outer.inner, inner.outer, outer.gain = inner, outer, 0.5  # type: ignore[attr-defined]

    def step(state: F.IFState, x: Tensor) -> Any:
        return advance(outer.inner.outer.inner.outer.gain, state, x)

    for gain in (0.5, 0.9):
        outer.gain = gain  # type: ignore[attr-defined]
        assert_as_the_loop(step)
    assert F.explain_scan(step, F.IFState(torch.zeros(300)), X).backend == "fused"


@pytest.mark.parametrize("base", [object, torch.nn.Module])
def test_what_an_object_that_is_called_reads_outside_of_it(base: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    held = [1.0]

    def run(self: Any, state: F.IFState, x: Tensor) -> Any:
        return advance(held[0] * DEFAULT.gain, state, x)

    name = "forward" if base is torch.nn.Module else "__call__"
    kind = type("Called", (base,), {name: run})
    step = kind()
    assert_as_the_loop(step)
    monkeypatch.setattr(DEFAULT, "gain", 0.9)
    assert_as_the_loop(step)
    held[0] = 0.3
    assert_as_the_loop(step)
    monkeypatch.setattr(kind, name, lambda self, state, x: advance(0.1, state, x))
    assert_as_the_loop(step)


class Kind(Enum):
    """An Enum with methods and members that hold something."""

    HARD = (0.5,)
    SOFT = (0.3,)

    def __init__(self, gain: float) -> None:
        self.kept = [gain]

    def gain(self) -> float:
        return DEFAULT.gain * self.kept[0]


def of_members(state: F.IFState, x: Tensor) -> Any:
    return advance(Kind.HARD.gain() + Kind.SOFT.kept[0], state, x)


def of_a_member(state: F.IFState, x: Tensor, *, kind: Kind) -> Any:
    return advance(kind.gain(), state, x)


def test_what_members_of_an_enum_hold_and_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def assert_right() -> None:
        assert_as_the_loop(of_members)
        assert_as_the_loop(of_a_member, kind=Kind.SOFT)

    assert_right()
    monkeypatch.setattr(DEFAULT, "gain", 0.9)
    assert_right()
    monkeypatch.setattr(Kind.SOFT, "kept", [0.7])
    assert_right()
    monkeypatch.setattr(Kind, "gain", lambda self: 0.1)
    assert_right()


@pytest.mark.filterwarnings("ignore:scan. .*on the Python loop")
def test_hooks_of_all_modules_are_called() -> None:
    class Halving(torch.nn.Module):
        def forward(self, state: F.IFState, x: Tensor) -> Any:
            return advance(0.5, state, x)

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
        step: Any = lambda state, x: advance(0.5, state, x * weight)  # noqa: E731
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


class Table:
    """An object that looks its attributes up, and knows no others."""

    def __getattr__(self, name: str) -> float:
        return GAINS[name]


GAINS = {"gain": 0.5}


def test_another_class_above() -> None:
    slow, fast = (type("Above", (), {"gain": gain}) for gain in (0.5, 0.9))
    kind: Any = type("Below", (slow,), {})
    step = reading(kind())
    for above in (slow, fast):
        kind.__bases__ = (above,)
        assert_as_the_loop(step)


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
        lambda state, x: advance(AN_OBJECT.gain * catching(x), state, x),
        lambda state, x: advance(AN_OBJECT[x], state, x),
        lambda state, x: advance(getattr(AN_OBJECT, "unused").__func__(x), state, x),  # noqa: B009
    ]
    for step in steps:
        assert_as_the_loop(step)
        assert "error that it catches" in F.explain_scan(step, F.IFState(torch.zeros(300)), X).reason


def made(kind: str) -> Any:
    """Return what looks its attributes up."""
    if kind == "object":
        return Table()
    namespace = types.ModuleType("namespace")
    namespace.__getattr__ = GAINS.__getitem__  # type: ignore[method-assign]
    return namespace


@pytest.mark.parametrize("kind", ["object", "module"])
def test_what_looks_its_attributes_up(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    step = reading(made(kind))
    for gain in (0.5, 0.9):
        monkeypatch.setitem(GAINS, "gain", gain)
        assert_as_the_loop(step)
