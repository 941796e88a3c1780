"""Calls that differ in what a proof has not seen: init for each sample, errors of a step, derivatives of all kinds."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

import spikingtorch as st
from tests.nets_that_step import Hole, in_both_modes, readout, train, with_backward

pytestmark = pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning")


class Tangent(torch.autograd.Function):
    """Mixes samples in forward mode."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0] * 2

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return tangents[0] * 2 - tangents[0].mean(0)


class Square(torch.autograd.Function):
    """Mixes samples in the second derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return of_gradient(grads[0]) * ctx.saved_tensors[0]


tangent: Any = Tangent.apply
# mixes samples in its backward pass
of_gradient = with_backward(lambda grad: grad * 2 - grad.mean(0), lambda grad: grad * 2)
square: Any = Square.apply


def forward_mode(model: Any) -> Any:
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(train(), train().flip(0))
        return forward_ad.unpack_dual(model(dual)).tangent


def second_derivative(model: Any) -> Any:
    x = train().requires_grad_()
    (grad,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
    return torch.autograd.grad(grad.square().sum(), x)


def init_of_each_sample(model: Any) -> Any:
    return model(train()), model(train(), torch.tensor([True, False, True, False, True]))


CALLS: dict[str, tuple[Hole, Callable[[Any], Any]]] = {
    "init of each sample": (lambda net, x, init: x * 2 if isinstance(init, Tensor) else x, init_of_each_sample),
    "forward mode": (lambda net, x, init: tangent(x), forward_mode),
    "second derivative": (lambda net, x, init: square(x), second_derivative),
}


@pytest.mark.parametrize("name", CALLS)
def test_call(name: str) -> None:
    code, act = CALLS[name]
    in_both_modes(readout(code).double(), act)


def test_assertion_on_a_step() -> None:
    def asserted(net: Any, x: Tensor, init: Any) -> Tensor:
        torch._assert_async(x.mean() < 0.7)  # pyright: ignore
        return x

    x = train()
    x[:, 0] = 0.9
    for mode in ("step", "auto"):
        with pytest.raises(RuntimeError):
            st.SpikingNet(readout(asserted).double(), 3, mode=mode)(x)
