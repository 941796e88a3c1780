"""Branches, sizes and derivatives that a trace or two do not tell."""

import contextlib
import copy
import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

import spikingtorch as st
from tests.fold.attacks.holes import case, mixing_if, readout
from tests.nets_that_step import Hole, Two, centred, differences, parameter, run, train

pytestmark = pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning")


def half_if_small(net: Any, x: Tensor, init: Any) -> Tensor:
    return x * 0.5 if x.shape[0] <= 20 else x


def chosen_by_size(net: Any, x: Tensor, init: Any) -> Tensor:
    other = x * 0.5
    return x if x.shape[0] <= 20 else other


def mixed_by_size(net: Any, x: Tensor, init: Any) -> Tensor:
    other = centred(x)
    return x if x.shape[0] <= 20 else other


def divided_by_size(net: Any, x: Tensor, init: Any) -> Tensor:
    return x * torch.tensor(1.0 / max(16, x.shape[0]))


def python_draw_by_size(net: Any, x: Tensor, init: Any) -> Tensor:
    return x * torch.tensor(random.random() if x.shape[0] > 12 else 0.5)


def squeezed(net: Any, x: Tensor, init: Any) -> Tensor:
    return x.view(-1, 2, 2).squeeze(0).flip(1).reshape(-1, 4)


def solved(net: Any, x: Tensor, init: Any) -> Tensor:
    """Solve for two samples: torch then takes net.right, 2 x 2, to be a batch of two vectors."""
    found = torch.linalg.solve(x.view(-1, 2, 2) + 3 * torch.eye(2, dtype=x.dtype), net.right)
    out: Tensor = found.reshape(x.shape[0], -1)[:, :2].repeat(1, 2)
    return out


def excused(net: Any, x: Tensor, init: Any) -> Tensor:
    try:
        peak = float(x.max())
    except Exception:
        peak = 1.0
    return x * peak


def suppressed(net: Any, x: Tensor, init: Any) -> Tensor:
    peak = 1.0
    with contextlib.suppress(Exception):
        peak = x.max().item()
    return x * peak


def numbered_by_apply(net: Any, x: Tensor, init: Any) -> Tensor:
    count = itertools.count()
    return x + torch.zeros(x.shape[0], 1).apply_(lambda value: next(count))


class GradientBySize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0] * 0.5 if grads[0].shape[0] <= 20 else grads[0]


def gradient_by_size(net: Any, x: Tensor, init: Any) -> Tensor:
    out: Tensor = GradientBySize.apply(x)  # type: ignore[no-untyped-call]
    return out


def compressed(net: Any, x: Tensor, init: Any) -> Tensor:
    """Keep activations for the backward pass in a few levels, with one scale for each tensor."""

    def pack(tensor: Tensor) -> Any:
        scale = tensor.abs().max() + 1e-9
        return (tensor / scale * 7).round(), scale

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda packed: packed[0] * packed[1] / 7):
        return torch.tanh(x) * x


def frozen_first() -> Two:
    net = readout(between=lambda net, x, init: x if x.requires_grad else centred(x))
    net.l1.requires_grad_(False)
    return net


class WarmNorm(nn.BatchNorm1d):
    """Grows with the number of batches."""

    def forward(self, input: Tensor) -> Tensor:
        out = super().forward(input)
        return out if self.num_batches_tracked is None else out * (self.num_batches_tracked / 10).clamp(max=1)


REPLAY = "Replay compares the operations that it meets, not "
VALUES: list[Any] = [
    case(
        "operations left out at the end",
        (lambda: readout(after=half_if_small), train(20)),
        REPLAY + "whether any are missing at the end",
    ),
    case("output chosen by size", (lambda: readout(after=chosen_by_size), train(20)), REPLAY + "what is returned"),
    case("mixed output by size", (lambda: readout(after=mixed_by_size), train(20)), REPLAY + "what is returned"),
    case(
        "input of a layer by size",
        (lambda: readout(between=chosen_by_size, l1=nn.Linear(4, 3), l2=nn.Identity()), train(20)),
        REPLAY + "what a layer is handed",
    ),
    case("tensor made of a size", (lambda: readout(divided_by_size), train(20)), REPLAY + "values of constants"),
    case("draw of Python by size", (lambda: readout(python_draw_by_size), train()), REPLAY + "Python's draws"),
    case("gradient by size", (lambda: readout(gradient_by_size), train(20)), REPLAY + "what a backward returns"),
    case("squeeze of one sample", (lambda: readout(squeezed), train(1)), "squeeze asks for no size: no replay for N=1"),
    case(
        "vectors or matrices",
        (lambda: readout(solved, right=parameter(2, 2, value=1.0)), train(2)),
        "solve takes a matrix for vectors where N is its size; a replay hands out the shape that it expects",
    ),
    case("except Exception", (lambda: readout(excused), train()), "Objection can be caught, and is not kept"),
    case("suppress", (lambda: readout(suppressed), train()), "Objection can be caught, and is not kept"),
    case("apply_", (lambda: readout(numbered_by_apply), train()), "apply_ writes on memory without an operation"),
    case("saved tensors hooks", (lambda: readout(compressed), train()), "nobody judges what hooks do to saved tensors"),
    case(
        "counter of batch norm",
        (lambda: readout(lambda net, x, init: net.norm(x), norm=WarmNorm(4)), train()),
        "the copy has no num_batches_tracked",
    ),
    case(
        "counter of batch norm, in evaluation",
        (lambda: readout(mixing_if(lambda net: net.norm.num_batches_tracked is not None), norm=WarmNorm(4)), train()),
        "the copy has no num_batches_tracked",
    ),
    case(
        "contiguous",
        (lambda: readout(lambda net, x, init: x if x.is_contiguous() else x * 0.5), train()),
        "the steps of an input are no contiguous tensors, those of a trace are",
    ),
    case(
        "storage offset",
        (lambda: readout(lambda net, x, init: x * 0.5 if x.storage_offset() else x), train()),
        "the offset of a step is that of the first one in a trace",
    ),
]


@pytest.mark.parametrize(
    ("make", "x"), [pytest.param(*each.values[0], id=each.id, marks=each.marks) for each in VALUES]
)
def test_computes_what_steps_do(make: Callable[[], nn.Module], x: Tensor) -> None:
    torch.manual_seed(0)
    net = make().double()
    wrong = differences(run(net, "auto", x), run(net, "step", x), 1e-8)
    assert not wrong, wrong


def test_requires_grad_of_what_a_frozen_layer_makes() -> None:
    net = frozen_first().double()
    want = st.SpikingNet(net, 3, mode="step")(train())
    torch.testing.assert_close(st.SpikingNet(net, 3)(train()), want)


def test_init_of_each_sample() -> None:
    net = readout(lambda net, x, init: x * 2 if isinstance(init, Tensor) else x).double()
    init, found = torch.tensor([True, False, True, False, True]), []
    for mode in ("step", "auto"):
        model = st.SpikingNet(copy.deepcopy(net), 3, mode=mode)
        model(train())
        found.append(model(train(), init))
    torch.testing.assert_close(found[1], found[0])


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
    net = readout(lambda net, x, init: Tangent.apply(x)).double()  # type: ignore[no-untyped-call]
    tangent, found = torch.rand(train().shape, dtype=torch.float64), []
    for mode in ("step", "auto"):
        model = st.SpikingNet(copy.deepcopy(net), 3, mode=mode)
        with forward_ad.dual_level():
            found.append(forward_ad.unpack_dual(model(forward_ad.make_dual(train(), tangent))).tangent)
    torch.testing.assert_close(found[1], found[0])


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
    net = readout(lambda net, x, init: Square.apply(x)).double()  # type: ignore[no-untyped-call]
    found: list[Tensor] = []
    for mode in ("step", "auto"):
        x = train().requires_grad_()
        out = st.SpikingNet(copy.deepcopy(net), 3, mode=mode)(x)
        (grad,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
        found += torch.autograd.grad(grad.square().sum(), x)
    torch.testing.assert_close(found[1], found[0])


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
    torch.manual_seed(0)
    code: Hole = lambda net, x, init: Gain.apply(x, net.w)  # type: ignore[no-untyped-call]  # noqa: E731
    net: Any = readout(code, w=parameter(4, value=1.0)).double()
    found = []
    net.w.requires_grad_(False)
    for mode in ("step", "auto"):
        model: Any = st.SpikingNet(copy.deepcopy(net), 3, mode=mode)
        model(train())
        model.net.w.requires_grad_()
        model(train()).sum().backward()
        found.append(model.net.w.grad)
    torch.testing.assert_close(found[1], found[0])
