"""Results lie in memory as torch's own do, are no views, and may be written on; and what torch saves is saved."""

import itertools
from random import Random
from typing import Any

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor

from spikingtorch import functional as F
from tests.drawn import outcome
from tests.rounding import Change, assert_as_exact

pytestmark = pytest.mark.usefixtures("one_thread")
CHANNELS_LAST: Any = torch.channels_last


def grads_of(layer: Any, given: list[Tensor], *options: Any) -> list[Tensor]:
    leaves = [tensor.detach().requires_grad_() for tensor in given]
    return outcome(layer(*leaves, *options), leaves)


@pytest.mark.parametrize("seed", range(40))
def test_strides(seed: int) -> None:
    """Axes of length one, for which many strides would do, included."""
    rng = Random(seed)
    C, outputs = rng.choice((1, 1, 3)), rng.choice((1, 1, 4))
    kernel = rng.choice((1, 2, 3)), rng.choice((1, 2, 3))
    size = [k + rng.choice((0, 0, 1, 4)) for k in kernel]
    x, weight = (torch.rand(2, C, *size) < 0.5).float(), torch.randn(outputs, C, *kernel)
    if rng.random() < 0.5:
        x = x.to(memory_format=CHANNELS_LAST)
    if rng.random() < 0.5:
        weight = weight.to(memory_format=CHANNELS_LAST)
    options = None, 1, rng.choice((0, tuple(k // 2 for k in kernel)))
    same(*(grads_of(each, [x, weight], *options) for each in (F.event_conv2d, nnf.conv2d)))
    rows, line = x[:, :, 0], weight[:, :, 0]
    same(*(grads_of(each, [rows, line]) for each in (F.event_conv1d, nnf.conv1d)))


def same(got: list[Tensor], want: list[Tensor]) -> None:
    """Assert equal strides: of outputs all, of gradients those of axes that are longer than one."""
    assert got[0].stride() == want[0].stride()
    for a, b in zip(got[1:], want[1:], strict=True):
        assert [a.stride(k) for k in range(a.ndim) if a.shape[k] > 1] == [
            b.stride(k) for k in range(b.ndim) if b.shape[k] > 1
        ]


LAYERS: dict[str, tuple[Any, tuple[int, ...], tuple[int, ...]]] = {
    "linear": (F.event_linear, (4, 6), (5, 6)),
    "conv1d": (F.event_conv1d, (3, 4, 6), (5, 4, 3)),
    "conv1d, one output": (F.event_conv1d, (3, 4, 6), (1, 4, 3)),
    "conv2d": (F.event_conv2d, (3, 4, 6, 6), (5, 4, 3, 3)),
    "conv2d, one output": (F.event_conv2d, (3, 4, 6, 6), (1, 4, 3, 3)),
    "conv2d, one pixel": (F.event_conv2d, (3, 4, 3, 3), (5, 4, 3, 3)),
}


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("name", LAYERS)
def test_outputs_may_be_written_on(name: str, last: bool) -> None:
    layer, shape, of_weight = LAYERS[name]
    x, weight = (torch.rand(shape) < 0.5).float(), torch.randn(of_weight, requires_grad=True)
    if last and len(shape) == 4:
        x = x.to(memory_format=CHANNELS_LAST)
    out = layer(x, weight)
    assert not out._is_view()
    want = torch.autograd.grad(layer(x, weight).relu().sum(), weight)[0]
    assert torch.equal(torch.autograd.grad(out.relu_().sum(), weight)[0], want)
    layer(x, weight).detach_()
    with torch.no_grad():
        quiet = layer(x, weight)
    quiet.mul_(torch.ones((), requires_grad=True)).sum().backward()


def test_weights_that_change_before_the_gradient_of_data() -> None:
    """As in torch, a linear layer keeps its weights for the gradient of the input alone."""
    spikes = (torch.rand(6, 5) < 0.5).float()
    for needs, x in itertools.product((False, True), (spikes, 0.5 * spikes)):
        weight, given = torch.randn(3, 5, requires_grad=True), x.clone().requires_grad_(needs)
        out = F.event_linear(given, weight)
        with torch.no_grad():
            weight.add_(1.0)
        if needs:
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                out.sum().backward()
        else:
            out.sum().backward()
            torch.testing.assert_close(weight.grad, x.sum(0).expand(3, 5))


def test_a_default_dtype_that_changes() -> None:
    x, weight = torch.ones(3, 6, requires_grad=True), torch.randn(4, 6, requires_grad=True)
    out = F.event_linear(x * 1, weight)
    torch.set_default_dtype(torch.float64)
    try:
        (found,) = torch.autograd.grad(out.square().sum(), weight, create_graph=True)
    finally:
        torch.set_default_dtype(torch.float32)

    def by_hand(change: Change) -> list[Tensor]:
        return [(2 * (change(x) @ change(weight).T).sum(0))[:, None].expand(4, 6)]

    assert_as_exact([found.detach()], by_hand)


def test_extreme_shapes_are_torchs_own() -> None:
    """Strides far beyond the image would take memory for places that are not there, and tall kernels stack."""
    x, weight = torch.ones(3, 6, 8, 8), torch.randn(4, 6, 3, 3, requires_grad=True)
    for stride in (65, 10**5, 2**40):
        out = F.event_conv2d(x, weight, None, stride)
        assert type(out.grad_fn).__name__ == type(nnf.conv2d(x, weight, None, 2).grad_fn).__name__
    tall = torch.ones(1, 1, 2000, 1)
    assert float(F.event_conv2d(tall, tall)) == 2000.0
