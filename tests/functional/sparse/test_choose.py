"""Which calls are torch's own, and why."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor
from torch.autograd import forward_ad

from spikingtorch import functional as F
from spikingtorch.functional.sparse import choose as choosing
from spikingtorch.functional.sparse import layers
from spikingtorch.functional.sparse.choose import choose
from spikingtorch.functional.sparse.operations import Convolution, Layer, Linear
from tests.folded_layer import Lambda

X, WEIGHT = (torch.arange(20).view(4, 5) % 3 == 0).float(), torch.linspace(-1, 1, 15).view(3, 5)
IMAGES, KERNEL = (torch.arange(96).view(2, 3, 4, 4) % 5 == 0).float(), torch.linspace(-1, 1, 54).view(2, 3, 3, 3)


class Own(Tensor):
    """A subclass of Tensor."""


@pytest.fixture
def no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a kernel would run, an error is raised."""

    def run(*_: Any) -> Tensor:
        raise AssertionError("a kernel runs")

    monkeypatch.setattr(layers, "run", run)


def reason(x: Tensor = X, weight: Tensor = WEIGHT, bias: Tensor | None = None) -> str:
    return choose(Layer(Linear(), x, weight, bias)) or ""


def test_reasons() -> None:
    assert reason() == ""
    assert reason(bias=torch.zeros(3)) == ""
    assert "float64" in reason(X.double(), WEIGHT.double())
    assert "float16" in reason(X.half(), WEIGHT.half())
    assert "int64" in reason(X.long())
    assert "plain tensor" in reason(X.to("meta"), WEIGHT.to("meta"))
    assert "plain tensor" in reason(X.to_sparse())
    assert "plain tensor" in reason(X.as_subclass(Own))
    assert "plain tensor" in reason(weight=torch.complex(WEIGHT, WEIGHT).conj().imag)
    assert "shape (4, 5) for weights of shape (3, 4)" in reason(weight=WEIGHT[:, :4])
    assert "bias of shape (1,)" in reason(bias=torch.zeros(1))
    assert "no inputs" in reason(X[:0])
    with torch.autocast("cpu"):
        assert "autocast" in reason()


def test_reasons_of_convolutions() -> None:
    def of(stride: Any = (1, 1), padding: Any = (0, 0), x: Tensor = IMAGES) -> str:
        return choose(Layer(Convolution(stride, padding), x, KERNEL)) or ""

    assert of() == ""
    assert "shape (3, 4, 4)" in of(x=IMAGES[0])
    assert "shape (2, 2, 4, 4)" in of(x=IMAGES[:, :2])
    assert "stride (0, 1)" in of(stride=(0, 1))
    assert "padding (3, 1)" in of(padding=(3, 1))
    assert "smaller than the kernel" in of(x=IMAGES[..., :2])


def test_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "_MOST", 19)
    assert "more than 19 numbers" in reason()


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "failure", lambda: "no C compiler")
    assert reason() == "has no kernel: no C compiler"
    assert torch.equal(F.event_linear(X, WEIGHT), nnf.linear(X, WEIGHT))


def test_images_without_a_batch() -> None:
    assert torch.equal(F.event_conv2d(IMAGES[0], KERNEL), nnf.conv2d(IMAGES[0], KERNEL))
    assert torch.equal(
        F.event_conv1d(IMAGES[0, 0], KERNEL[:, 0, :1].expand(2, 4, 3)),
        nnf.conv1d(IMAGES[0, 0], KERNEL[:, 0, :1].expand(2, 4, 3)),
    )


@pytest.mark.usefixtures("no_kernels")
def test_transforms() -> None:
    def linear(weight: Tensor) -> Tensor:
        return F.event_linear(X, weight).square().sum()

    def dense(weight: Tensor) -> Tensor:
        return nnf.linear(X, weight).square().sum()

    torch.testing.assert_close(torch.func.grad(linear)(WEIGHT), torch.func.grad(dense)(WEIGHT))
    torch.testing.assert_close(torch.func.hessian(linear)(WEIGHT), torch.func.hessian(dense)(WEIGHT))
    many = torch.stack([WEIGHT, -WEIGHT])
    torch.testing.assert_close(torch.func.vmap(linear)(many), torch.func.vmap(dense)(many))
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(WEIGHT, torch.ones_like(WEIGHT))
        assert forward_ad.unpack_dual(linear(dual)).tangent is not None


@pytest.mark.usefixtures("no_kernels")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_compiled_exported_and_traced() -> None:
    parts = {"kernel": torch.nn.Parameter(KERNEL.clone()), "weight": torch.nn.Parameter(torch.ones(3, 8) / 8)}
    net = Lambda(lambda net, x: F.event_linear(F.event_conv2d(x, net.kernel).flatten(1), net.weight), **parts)
    want = nnf.linear(nnf.conv2d(IMAGES, parts["kernel"]).flatten(1), parts["weight"])
    torch.testing.assert_close(torch.compile(copy.deepcopy(net), backend="eager", fullgraph=True)(IMAGES), want)
    torch.testing.assert_close(torch.export.export(net, (IMAGES,)).module()(IMAGES), want)
    traced: Any = torch.jit.trace(net, (IMAGES,), check_trace=False)
    torch.testing.assert_close(traced(IMAGES), want)
