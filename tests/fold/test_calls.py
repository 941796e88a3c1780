"""Calls that differ in what a proof has not seen: init for each sample, errors of a step, derivatives of all kinds."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

import spikingtorch as st
from tests.nets_that_step import Hole, in_both_modes, parameter, readout, train

pytestmark = pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning")


def test_init_of_each_sample() -> None:
    net = readout(lambda net, x, init: x * 2 if isinstance(init, Tensor) else x).double()
    in_both_modes(net, lambda model: (model(train()), model(train(), torch.tensor([True, False, True, False, True]))))


def test_assertion_on_a_step() -> None:
    def asserted(net: Any, x: Tensor, init: Any) -> Tensor:
        torch._assert_async(x.mean() < 0.7)  # pyright: ignore
        return x

    x = train()
    x[:, 0] = 0.9
    for mode in ("step", "auto"):
        with pytest.raises(RuntimeError):
            st.SpikingNet(readout(asserted).double(), 3, mode=mode)(x)


class Tangent(torch.autograd.Function):
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


def test_forward_mode() -> None:
    tangent = torch.rand(train().shape, dtype=torch.float64)

    def act(model: Any) -> Any:
        with forward_ad.dual_level():
            return forward_ad.unpack_dual(model(forward_ad.make_dual(train(), tangent))).tangent

    in_both_modes(readout(lambda net, x, init: Tangent.apply(x)).double(), act)  # type: ignore[no-untyped-call]


class OfGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * 2

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0] * 2 - grads[0].mean(0)


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return OfGradient.apply(grads[0]) * ctx.saved_tensors[0]  # type: ignore[no-untyped-call]


def test_second_derivative() -> None:
    def act(model: Any) -> Any:
        x = train().requires_grad_()
        (grad,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
        return torch.autograd.grad(grad.square().sum(), x)

    in_both_modes(readout(lambda net, x, init: Square.apply(x)).double(), act)  # type: ignore[no-untyped-call]


class Gain(torch.autograd.Function):
    """Hands its weight a gradient of length one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * weight

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        whole = (grads[0] * ctx.saved_tensors[0]).sum(0) if ctx.needs_input_grad[1] else None
        return None, None if whole is None else whole / whole.norm()


def test_weight_that_learns_later() -> None:
    def act(model: Any) -> Any:
        model(train())
        model.net.w.requires_grad_()
        model(train()).sum().backward()
        return model.net.w.grad

    torch.manual_seed(0)
    code: Hole = lambda net, x, init: Gain.apply(x, net.w)  # type: ignore[no-untyped-call]  # noqa: E731
    net: Any = readout(code, w=parameter(4, value=1.0)).double()
    net.w.requires_grad_(False)
    in_both_modes(net, act)
