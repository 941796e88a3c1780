"""Convolutions of few channels: torch's outputs, and gradients by kernels whose vectors hold a row of the kernel."""

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.sparse import crossover, kernels
from spikingtorch.functional.sparse.autograd import run
from spikingtorch.functional.sparse.operations import Layer
from tests.functional.sparse.cases import Case, conv2d, dense, outcome
from tests.rounding import Change, Results, assert_as_exact
from tests.surroundings import calls_of

CASES = {
    "one-output": conv2d((2, 1, 5, 6), 1, (3, 3), 1, 1),
    "small": conv2d((2, 3, 8, 7), 4, (3, 3), 1, 1),
    "all-padding": conv2d((1, 2, 2, 1), 3, (4, 3), 1, (3, 2)),
    "strides": conv2d((20, 1, 28, 28), 4, (4, 4), 2, 0),
    "whole-vectors": conv2d((18, 4, 13, 13), 6, (4, 4), 1, 0),
    "outputs": conv2d((7, 5, 6, 5), 15, (3, 3), 1, 1),
    "high-kernel": conv2d((3, 1, 17, 9), 3, (7, 3), (1, 2), (3, 1)),
    "wide-kernel": conv2d((2, 1, 6, 40), 11, (1, 11), (2, 1), (0, 5)),
    "wide-images": conv2d((1, 1, 3, 400), 2, (3, 5), 1, (1, 2)),
    "many-images": conv2d((300, 2, 4, 4), 6, (3, 3), 1, 1),
    "no-images": conv2d((0, 2, 4, 4), 6, (3, 3), 1, 1),
    "sequences": Case(F.event_conv1d, nnf.conv1d, (4, 3, 20), (5, 3, 4), (2, 1)),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Tensor | None]:
    """What the kernel of the weights has returned."""
    return calls_of(monkeypatch, kernels, "dense_weight_gradient", lambda result, *_: result)


def layer_of(operation: Any) -> Callable[..., Tensor]:
    """Return a layer with torch's outputs, and with gradients by kernels."""
    return lambda x, weight, bias, *_: run(Layer(operation, x, weight, bias), None)


def draw(case: Case) -> list[Tensor]:
    return [torch.randn(shape).requires_grad_() for shape in (case.x, case.weight, case.weight[:1])]


def check(case: Case, tensors: list[Tensor], results: list[Tensor | None]) -> None:
    """Assert that a kernel has found the gradient of the weights, and that it is as near to float64 as torch's."""
    got, want = (outcome(each, tensors, case.options) for each in (layer_of(case.operation), case.dense))
    assert [result is not None for result in results] == [True]
    assert torch.equal(got[0], want[0])
    assert [each.stride() for each in got] == [each.stride() for each in want]
    assert_as_exact(got, dense(case.dense, tensors, case.options))


@every_case
def test_values(case: Case, found: list[Tensor | None]) -> None:
    torch.manual_seed(0)
    check(case, draw(case), found)


@pytest.mark.sampled
@pytest.mark.parametrize("seed", range(12))
def test_random_shapes(seed: int, found: list[Tensor | None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more outputs than pays as well."""
    monkeypatch.setattr(crossover, "has_few_outputs", lambda _: True)
    monkeypatch.setattr("spikingtorch.functional.sparse.autograd.has_few_outputs", lambda _: True)
    rng = Random(seed)
    torch.manual_seed(seed)
    for _ in range(10):
        channels, outputs = rng.randint(1, 5), rng.choice((1, 2, 3, 5, 7, 8, 9, 13, 21))
        kernel = rng.randint(1, 6), rng.randint(1, 16 // channels)
        padding = rng.randrange(kernel[0]), rng.randrange(kernel[1])
        size = [rng.randint(k, 24) for k in kernel]
        stride = rng.randint(1, 4), rng.randint(1, 4)
        case = conv2d((rng.randint(1, 40), channels, *size), outputs, kernel, stride, padding)
        found.clear()
        check(case, draw(case), found)


@pytest.mark.sampled
@pytest.mark.usefixtures("form", "one_thread")
@every_case
def test_every_vector(case: Case, found: list[Tensor | None]) -> None:
    """Where a row takes more than two vectors, the gradient is torch's."""
    torch.manual_seed(0)
    tensors = draw(case)
    got = outcome(layer_of(case.operation), tensors, case.options)
    assert_as_exact(got, dense(case.dense, tensors, case.options))
    row = case.weight[1] * case.weight[-1]
    assert [result is not None for result in found] == [row <= 2 * kernels._lanes()]


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf], ids=str)
@pytest.mark.parametrize("place", ["x", "g"])
def test_numbers_that_are_not_finite(value: float, place: str, found: list[Tensor | None]) -> None:
    """The zeros around an image are no part of it."""
    case = CASES["small"]
    x, weight, _ = draw(case)
    g = torch.randn(run(Layer(case.operation, x, weight), None).shape)
    with torch.no_grad():
        (x if place == "x" else g)[1, 2, 3, 0] = value
    got = torch.autograd.grad(run(Layer(case.operation, x, weight), None), weight, g)

    def of_torch(change: Change) -> Sequence[Tensor]:
        leaf = change(weight.detach()).requires_grad_()
        return torch.autograd.grad(nnf.conv2d(change(x.detach()), leaf, None, 1, 1), leaf, change(g))

    assert_as_exact(got, of_torch)
    assert [result is None for result in found] == [place == "g"]


def test_weights_alone_and_input_alone(found: list[Tensor | None]) -> None:
    case = CASES["small"]
    for wanted in ((True, False, False), (False, True, False), (False, False, True), (False, True, True)):
        squared = partial(gradients_of_squares, wanted, [tensor.detach() for tensor in draw(case)], case.options)
        found.clear()
        got = squared(layer_of(case.operation))
        assert len(found) == wanted[1]
        assert_as_exact(got, partial(squared, case.dense))


def gradients_of_squares(
    wanted: Sequence[bool], tensors: list[Tensor], options: Any, layer: Any, change: Change = torch.clone
) -> Results:
    given = [change(tensor).requires_grad_(of) for tensor, of in zip(tensors, wanted, strict=True)]
    out = layer(*given, *options)
    return torch.autograd.grad(out.square().sum(), [tensor for tensor in given if tensor.requires_grad])
