"""Parameters that others are computed from: torch's values bit by bit, and their gradients from the kernel."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.testing import assert_close
from tests.folded_layer import M, Took, agrees, draw, held, over_time


def learned(shape: tuple[int, ...], low: float = 2.0) -> nn.Parameter:
    return nn.Parameter(low + draw(3, *shape) if shape else torch.tensor(low, dtype=torch.float64))


LAYERS: dict[str, Callable[[nn.Parameter], st.StepLayer]] = {
    "LIF": lambda tau: st.LIF(tau=tau),
    "all of LIF": lambda tau: st.LIF(tau=tau, learnable=True),
    "LI": lambda tau: st.LI(tau=tau),
    "CoarseLIF": lambda tau: st.CoarseLIF(tau=tau, v0=nn.Parameter(torch.tensor(0.7))),
}


@pytest.mark.parametrize("shape", [(), (1,), (M,)], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_values_have_torchs_bits_and_gradients_reach_the_source(name: str, shape: tuple[int, ...], took: Took) -> None:
    model = over_time(LAYERS[name](learned(shape))).double()
    for seed in range(3):
        x = draw(seed).requires_grad_()
        assert agrees(model, x, took)
        model.mode = "step"
        want = model(x)
        model.mode = "fold"
        assert torch.equal(model(x), want)
    assert took.trains > 0


def test_second_derivatives() -> None:
    model = over_time(st.LIF(tau=learned((M,)))).double()
    x = draw(1).requires_grad_()

    def second(mode: Any) -> tuple[Tensor, ...]:
        model.mode = mode
        out, tau = model(x), held(model).tau
        (first,) = torch.autograd.grad((out * draw(5)).sum(), tau, create_graph=True)
        return torch.autograd.grad(first.square().sum(), [x, tau])

    for got in (second("fold"), second("fold")):
        assert_close(got, second("step"))


def test_a_write_on_the_source_is_noticed() -> None:
    model = over_time(st.LIF(tau=learned((M,)))).double()
    for _ in range(2):
        out = model(draw(1))
        with torch.no_grad():
            held(model).tau.mul_(1.5)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            out.sum().backward()


class Shared(st.LIF):
    """A map that mixes neurons, which no kernel has."""

    @staticmethod
    def param_map(stored: dict[str, Any]) -> dict[str, Any]:
        return st.LIF.param_map({**stored, "tau": stored["tau"].mean() + 0 * stored["tau"]})


def test_a_map_that_is_not_elementwise_is_computed_before_the_scan(took: Took) -> None:
    model = over_time(Shared(tau=learned((M,)))).double()
    for seed in range(2):
        agrees(model, draw(seed).requires_grad_(), took)


class Handed(st.LIF):
    """A map that hands a parameter on and computes another one from it."""

    @staticmethod
    def param_map(stored: dict[str, Any]) -> dict[str, Any]:
        return stored | {"gain": 1.0 - stored["decay"]}


def test_a_parameter_that_is_handed_on_and_computed_with(took: Took) -> None:
    model = over_time(Handed(decay=torch.tensor(0.8), learnable="decay")).double()
    for seed in range(3):
        assert agrees(model, 4.0 * draw(seed).requires_grad_(), took)
