"""The proof leaves nothing behind, and raises nothing that stepping does not."""

import contextlib
import functools
import io
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from tests.nets_that_step import Two, readout, train

pytestmark = pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning")


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


# what asks it in a proof
ERRORS: dict[str, Callable[[], nn.Module]] = {
    "attributes are entries": WithEntries,  # a look at a class asks for the attribute func
    "no text": lambda: readout(lambda net, x, init: x * net.a, a=Unspeakable(1.0)),
    "deep list": with_a_deep_list,
}


@pytest.mark.parametrize("name", ERRORS)
def test_raises_nothing(name: str) -> None:
    net = ERRORS[name]().double()
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
