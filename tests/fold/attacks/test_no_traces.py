"""The proof leaves nothing behind, and raises nothing that stepping does not."""

import contextlib
import functools
import io
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from tests.fold.attacks.holes import case, readout
from tests.fold.attacks.test_staleness import settings
from tests.fold.attacks.test_state import calls_of_gain
from tests.nets_that_step import Hole, Two, train

pytestmark = pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning")


class Slots:
    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0


class Single(Slots):
    """There is one of it."""

    def __deepcopy__(self, memo: Any) -> "Single":
        return self


class Passes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


counts = Slots()


class Calls(NamedTuple):
    net: nn.Module
    counted: Callable[[], int]


def on_global_slots() -> Calls:
    def code(net: Any, x: Tensor, init: Any) -> Tensor:
        counts.n += 1
        return x

    counts.n = 0
    return Calls(readout(code), lambda: counts.n)


def on_a_module_of_python() -> Calls:
    def code(net: Any, x: Tensor, init: Any) -> Tensor:
        settings.n = settings.n + 1  # type: ignore[attr-defined]
        return x

    settings.n = 0  # type: ignore[attr-defined]
    return Calls(readout(code), lambda: settings.n)


def on_the_network_closed_over() -> Calls:
    net: Any = readout(lambda net, x, init: (net.note(1), x)[1], log=[])
    net.note = lambda value: net.log.append(value)
    return Calls(net, lambda: len(net.log))


def on_a_singleton() -> Calls:
    single = Single()

    def code(net: Any, x: Tensor, init: Any) -> Tensor:
        net.single.n += 1
        return x

    return Calls(readout(code, single=single), lambda: single.n)


def by_a_bound_append() -> Calls:
    log: list[int] = []
    return Calls(readout(lambda net, x, init: (net.log(1), x)[1], log=log.append), lambda: len(log))


def by_another_forward() -> Calls:
    log: list[int] = []
    net: Any = readout(lambda net, x, init: net.inner(x), inner=Passes())

    def forward(x: Tensor) -> Tensor:
        log.append(1)
        return x

    net.inner.forward = forward
    return Calls(net, lambda: len(log))


def by_a_hook_of_a_hidden_module() -> Calls:
    log: list[int] = []
    relu = nn.ReLU()
    relu.register_forward_hook(lambda *args: log.append(1))
    return Calls(readout(lambda net, x, init: net.box[0](x), box=[relu]), lambda: len(log))


def by_an_operation() -> Calls:
    calls_of_gain.clear()
    code: Hole = lambda net, x, init: (torch.ops.spikingtorch_tests.record(x.detach()), x)[1]  # noqa: E731
    return Calls(readout(code), lambda: len(calls_of_gain))


COUNTS: list[Any] = [
    case("slots", on_global_slots, "Outside does not keep slots"),
    case("a module of Python", on_a_module_of_python, "Outside does not keep what is assigned to modules of Python"),
    case(
        "the network closed over", on_the_network_closed_over, "a function of the copy closes over the network itself"
    ),
    case("a singleton", on_a_singleton, "Outside does not keep what deepcopy does not copy"),
    case("a bound append", by_a_bound_append, "what a built-in method belongs to is not looked at, nor copied"),
    case("another forward", by_another_forward, "a forward of an object, not of its class, is not looked into"),
    case("a hook", by_a_hook_of_a_hidden_module, "hooks of modules that are not registered are no reason to step"),
    case("an operation", by_an_operation, "an operation without outputs is not judged"),
]


@pytest.mark.parametrize("make", COUNTS)
def test_calls_code_once_a_step(make: Callable[[], Calls]) -> None:
    net, counted = make()
    st.SpikingNet(net.double(), 3)(train(T=7))
    assert counted() == 7


def test_writes_once_a_step() -> None:
    with contextlib.redirect_stdout(io.StringIO()) as written:
        st.SpikingNet(readout(lambda net, x, init: (sys.stdout.write("."), x)[1]).double(), 3)(train(T=7))
    assert written.getvalue() == 7 * "."


class Cached(Two):
    @functools.lru_cache  # noqa: B019
    def gain(self) -> float:
        return 1.0


def test_leaves_nothing_in_a_cache() -> None:
    Cached.gain.cache_clear()
    st.SpikingNet(Cached(lambda net, x, init: x * net.gain()).double(), 3)(train())
    assert Cached.gain.cache_info().currsize == 1


def test_leaves_the_default_dtype() -> None:
    def code(net: Any, x: Tensor, init: Any) -> Tensor:
        torch.set_default_dtype(torch.float64)
        x = x * x.max().item()
        torch.set_default_dtype(torch.float32)
        return x

    model = st.SpikingNet(readout(code).double(), 3)
    model.explain(train())
    assert torch.get_default_dtype() == torch.float32


class Entries(dict[str, Any]):
    __getattr__ = dict.__getitem__


class WithEntries(Two):
    options = Entries(a=1)


class Unspeakable(float):
    def __repr__(self) -> str:
        raise RuntimeError("has no text")


def with_a_deep_list() -> Two:
    box: list[Any] = []
    for _ in range(700):
        box = [box]
    net = readout(lambda net, x, init: x if net.box else -x)
    net.box = box  # type: ignore[assignment]
    return net


ERRORS: list[Any] = [
    case("attributes are entries", WithEntries, "_member asks what a class holds for the attribute func"),
    case("no text", lambda: readout(lambda net, x, init: x * net.a, a=Unspeakable(1.0)), "_value calls repr"),
    case("deep list", with_a_deep_list, "_value goes down by recursion"),
]


@pytest.mark.parametrize("make", ERRORS)
def test_raises_nothing(make: Callable[[], nn.Module]) -> None:
    net = make().double()
    want = st.SpikingNet(net, 3, mode="step")(train())
    torch.testing.assert_close(st.SpikingNet(net, 3)(train()), want)


def test_leaves_a_cell_empty() -> None:
    def code(net: Any, x: Tensor, init: Any) -> Tensor:
        try:
            return x * factor
        except NameError:
            return x

    st.SpikingNet(readout(code).double(), 3)(train())
    factor = 2.0
