"""Networks that do something else for many samples than for a few, which no operation shows: they step for those."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
import spikingtorch.functional as SF
from tests.fold.free import as_stepped, net_of
from tests.nets_that_step import Hole, Two, train

pytestmark = pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning")
FEW, MANY = 3, 30


def of_one(net: Any, x: Tensor, *init: Any) -> Tensor:
    out: Tensor = (net.a if len(x) > MANY else net.b)(x, *init)
    return out


def without_gradient(net: Any, x: Tensor, init: Any) -> Tensor:
    with torch.set_grad_enabled(len(x) <= MANY):
        return x * 2.0


def norms(**options: Any) -> dict[str, Any]:
    return {"a": nn.BatchNorm1d(4, affine=False, **options), "b": nn.BatchNorm1d(4, 1.0, affine=False, **options)}


CASES: dict[str, tuple[Hole, dict[str, Any]]] = {
    "another layer with the same parameters": (
        of_one,
        {"a": st.LIF(reset=SF.to_zero), "b": st.LIF(reset=SF.by_subtraction)},
    ),
    "another norm": (lambda net, x, init: of_one(net, x), norms()),
    "another norm without statistics": (lambda net, x, init: of_one(net, x), norms(track_running_stats=False)),
    "no gradient": (without_gradient, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_steps_for_many_samples(name: str) -> None:
    code, parts = CASES[name]
    net = net_of(code, **parts)
    model = st.SpikingNet(net, 3)
    assert as_stepped(net, model, FEW) == "fold"
    assert as_stepped(net, model, MANY) == "step"
    assert f"for {MANY * train().shape[1]} samples than for a few" in model.explain().reason


def scaled_by_a_constant(net: Any, x: Tensor, init: Any) -> Tensor:
    return x * torch.tensor(2.0 if len(x) > 50 else 1.0)


def test_steps_for_many_samples_that_meet_another_constant() -> None:
    model = st.SpikingNet(Two(scaled_by_a_constant), 3)
    model(torch.rand(4, 3, 4))
    assert model.explain().mode == "fold"
    with pytest.warns(RuntimeWarning, match="computes something else for"):
        model(torch.rand(80, 3, 4))
