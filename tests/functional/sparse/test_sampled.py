"""Gradients of inputs at the places where they are wanted."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor

from spikingtorch.functional.sparse import kernels
from spikingtorch.functional.sparse.autograd import marked_support, run
from spikingtorch.functional.sparse.automatic import Supports
from spikingtorch.functional.sparse.operations import Layer, Linear
from tests.drawn import outcome
from tests.functional.sparse.cases import CASES, Case, random_case
from tests.rounding import Change, assert_as_exact
from tests.surroundings import calls_of

every_case = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What the kernel has returned."""
    return calls_of(monkeypatch, kernels, "sampled_input_gradient", lambda result, *_: result)


def sampled(operation: Any, support: Tensor) -> Callable[..., Tensor]:
    """Return a layer with torch's outputs, whose input gradient is wanted where bools say so."""

    def layer(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        layer = Layer(operation, x, weight, bias)
        return run(layer, None, marked_support(layer, support, support.numel()))

    return layer


def draw(case: Case, density: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return input, weights and where the gradient of the input is wanted."""
    return torch.randn(case.x).requires_grad_(), torch.randn(case.weight), torch.rand(case.x) < density


def gradient(layer: Callable[..., Tensor], x: Tensor, *others: Any) -> Tensor:
    return outcome(layer(x, *others), [x])[1]


def check(case: Case, density: float, channels_last: bool = False) -> None:
    """Assert that a gradient is as near to float64 as torch's where it is wanted, and zero elsewhere."""
    x, weight, support = draw(case, density)
    if channels_last and x.ndim == 4:
        x = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
        support = support.contiguous(memory_format=torch.channels_last)
    got = gradient(sampled(case.operation, support), x, weight)
    assert got.stride() == gradient(case.dense, x, weight, None, *case.options).stride()
    assert not got[~support].any()
    as_dense(got, case.dense, x, weight, support, None, *case.options)


def as_dense(got: Tensor, layer: Callable[..., Tensor], x: Tensor, weight: Tensor, support: Tensor, *args: Any) -> None:
    """Assert that a gradient is as near to float64 as torch's where it is wanted."""

    def dense(change: Change) -> list[Tensor]:
        return [gradient(layer, change(x.detach()).requires_grad_(), change(weight), *args) * support]

    assert_as_exact([got], dense)


@pytest.mark.sampled
@every_case
@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
def test_values(case: Case, density: float, found: list[bool]) -> None:
    torch.manual_seed(0)
    for channels_last in (False, True):
        check(case, density, channels_last)
    assert found == [True] * 2


@pytest.mark.sampled
@pytest.mark.parametrize("seed", range(8))
def test_random_shapes(seed: int, found: list[bool]) -> None:
    rng = Random(seed)
    torch.manual_seed(seed)
    for _ in range(10):
        check(random_case(rng), rng.choice((0.02, 0.1, 0.5)), rng.random() < 0.5)
    assert found == [True] * 10


def test_weights_that_do_not_fit_in_the_cache(found: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of the input is divided into pieces of equal length, if few are enough: not into one for each channel."""
    monkeypatch.setattr(kernels, "_PANEL_BYTES", 1000)
    for channels, pieces in ((96, 8), (95, 19), (97, 1)):
        x, weight, support = torch.randn(30, channels).requires_grad_(), torch.randn(20, channels), None
        support = torch.rand(30, channels) < 0.2
        assert kernels._pieces(Linear().shape(x.shape, weight.shape)) == pieces
        got = gradient(sampled(Linear(), support), x, weight)
        as_dense(got, nnf.linear, x, weight, support)
    assert found == [True] * 3


@pytest.mark.sampled
@pytest.mark.usefixtures("form", "one_thread")
@every_case
def test_every_vector(case: Case, found: list[bool]) -> None:
    torch.manual_seed(0)
    check(case, 0.2)
    assert found == [True]


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf], ids=str)
@pytest.mark.parametrize("place", ["weight", "g"])
@pytest.mark.parametrize("name", ["linear-time", "conv-strides"])
def test_numbers_that_are_not_finite(name: str, value: float, place: str, found: list[bool]) -> None:
    """Zero times infinity is no zero: the gradient is torch's, at every place."""
    case = CASES[name]
    x, weight, support = draw(case, 0.0)
    g = torch.randn(case.dense(x, weight, None, *case.options).shape)
    (weight if place == "weight" else g).view(-1)[-2] = value
    got = torch.autograd.grad(sampled(case.operation, support)(x, weight), x, g)

    def dense(change: Change) -> Sequence[Tensor]:
        leaf = change(x.detach()).requires_grad_()
        return torch.autograd.grad(case.dense(leaf, change(weight), None, *case.options), leaf, change(g))

    assert_as_exact(got, dense)
    assert found == [False]


def test_spikes_that_nobody_holds_are_forgotten() -> None:
    supports, spikes = Supports(), torch.zeros(6, 4, requires_grad=True) * 2
    supports.note(spikes, torch.rand(6, 4) < 0.5)
    view = spikes.view(24)
    del spikes
    assert supports.of(view) is not None
    del view
    assert not supports._of
