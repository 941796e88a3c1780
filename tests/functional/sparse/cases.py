"""Layers of many shapes, with inputs of many densities, and their results in float32 and float64."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple

import torch
import torch.nn.functional as nnf
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.sparse import operations
from spikingtorch.functional.sparse.choose import choose
from spikingtorch.functional.sparse.operations import Convolution, Linear, Operation
from tests import drawn
from tests.rounding import Change, Results, assert_as_exact

DENSITIES = (0.0, 0.01, 0.05, 0.2, 1.0)
Layer = Callable[..., Tensor]


class Case(NamedTuple):
    """A layer, torch's own, the shapes of input and weights, and what else it takes."""

    event: Layer
    dense: Layer
    x: tuple[int, ...]
    weight: tuple[int, ...]
    options: tuple[Any, ...] = ()

    @property
    def operation(self) -> Operation:
        """The layer as the kernels know it."""
        if not self.options:
            return Linear()
        if len(self.x) == 3:
            return Convolution((1, self.options[0]), (0, self.options[1]), axes=1)
        (stride_y, stride_x), (padding_y, padding_x) = ((o, o) if isinstance(o, int) else o for o in self.options)
        return Convolution((stride_y, stride_x), (padding_y, padding_x))


def _linear(x: tuple[int, ...], outputs: int) -> Case:
    return Case(F.event_linear, nnf.linear, x, (outputs, x[-1]))


def conv2d(x: tuple[int, ...], outputs: int, kernel: tuple[int, int], *options: Any) -> Case:
    return Case(F.event_conv2d, nnf.conv2d, x, (outputs, x[1], *kernel), options)


LINEAR = {
    "one-row": _linear((7,), 3),
    "one-of-all": _linear((1, 1), 1),
    "small": _linear((5, 3), 2),
    "time": _linear((4, 6, 33), 17),
    "more-rows-than-a-block": _linear((1200, 40), 100),
    "panels": _linear((50, 130), 400),
    "wide": _linear((20, 1500), 70),
}
CONV = {
    "small": conv2d((2, 3, 8, 7), 4, (3, 3), 1, 1),
    "one-pixel": conv2d((3, 2, 1, 1), 5, (1, 1), 1, 0),
    "no-padding": conv2d((4, 5, 9, 6), 20, (4, 4), 1, 0),
    "strides": conv2d((2, 4, 9, 11), 6, (4, 5), (2, 3), (1, 2)),
    "stride-beyond-kernel": conv2d((2, 3, 11, 10), 6, (2, 1), (3, 4), 0),
    "all-padding": conv2d((1, 2, 2, 1), 3, (4, 3), 1, (3, 2)),
    "wide-kernel": conv2d((2, 1, 6, 40), 33, (1, 11), 1, (0, 5)),
    "high-kernel": conv2d((2, 2, 17, 3), 9, (7, 2), (1, 2), (3, 1)),
    "channels": conv2d((3, 70, 6, 6), 150, (3, 3), 1, 1),
    "bands": conv2d((2, 3, 40, 130), 130, (3, 3), 1, 1),
    "bands-of-strides": conv2d((1, 2, 61, 120), 130, (5, 5), (2, 2), 2),
    "many-images": conv2d((300, 2, 4, 4), 8, (3, 3), 1, 1),
    "sequences": Case(F.event_conv1d, nnf.conv1d, (3, 40, 33), (30, 40, 3), (2, 1)),
}
CASES = {f"linear-{name}": case for name, case in LINEAR.items()} | {f"conv-{name}": c for name, c in CONV.items()}


def random_case(rng: Random) -> Case:
    """Return a layer of random sizes."""
    outputs = rng.choice((1, 2, 7, 16, 33, 64, 130))
    if rng.random() < 0.3:
        rows = [rng.randint(1, 40) for _ in range(rng.randint(0, 2))]
        return _linear((*rows, rng.randint(1, 200)), outputs)
    kernel = rng.randint(1, 5), rng.randint(1, 5)
    padding = rng.randrange(kernel[0]), rng.randrange(kernel[1])
    size = [rng.randint(k, 14) for k in kernel]
    stride = rng.randint(1, 4), rng.randint(1, 4)
    return conv2d((rng.randint(1, 5), rng.randint(1, 20), *size), outputs, kernel, stride, padding)


def draw(case: Case, density: float, graded: bool = False) -> list[Tensor]:
    """Return input, weights and bias, which require a gradient."""
    x = (torch.rand(case.x) < density).float()
    if graded:
        x *= torch.randn(case.x)
    tensors = [x, torch.randn(case.weight), torch.randn(case.weight[0])]
    return [tensor.requires_grad_() for tensor in tensors]


def outcome(layer: Layer, tensors: Sequence[Tensor], options: tuple[Any, ...] = ()) -> list[Tensor]:
    """Return outputs, and the gradients of input, weights and bias for a random gradient of the outputs."""
    return drawn.outcome(layer(*tensors, *options), tensors)


def check(case: Case, tensors: list[Tensor]) -> None:
    """Assert that kernels run, and are as near to float64 as torch's own are."""
    x, weight, bias = tensors
    assert choose(operations.Layer(case.operation, x, weight, bias)) is None, "no kernel runs"
    assert_as_exact(outcome(case.event, tensors, case.options), dense(case.dense, tensors, case.options))


def dense(layer: Layer, tensors: Sequence[Tensor], options: tuple[Any, ...] = ()) -> Callable[[Change], Results]:
    """Return the way to ``outcome`` by a layer of torch."""
    return lambda change: outcome(layer, [change(tensor.detach()).requires_grad_() for tensor in tensors], options)
