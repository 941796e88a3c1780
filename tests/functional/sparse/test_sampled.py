"""Gradients of inputs at the places where they are wanted."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor

from spikingtorch.functional.sparse import crossover, kernels
from spikingtorch.functional.sparse.autograd import marked_support, run
from spikingtorch.functional.sparse.layers import linear
from spikingtorch.functional.sparse.operations import Convolution, Layer, Linear
from spikingtorch.functional.sparse.pooling import max_pool2d, pooled_support
from spikingtorch.functional.sparse.supports import Supports
from tests.functional.sparse.cases import CASES, Case, random_case
from tests.noted import calls_of
from tests.rounding import Change, assert_as_exact

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
    out = layer(x, *others)
    g = torch.randn(out.shape, generator=torch.Generator().manual_seed(0))
    return torch.autograd.grad(out, x, g.to(out.dtype))[0]


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


def test_sequences(found: list[bool]) -> None:
    operation = Convolution((1, 2), (0, 1), axes=1)
    x, weight = torch.randn(4, 3, 20).requires_grad_(), torch.randn(5, 3, 4)
    support = torch.rand(x.shape) < 0.3
    got = gradient(sampled(operation, support), x, weight)
    as_dense(got, nnf.conv1d, x, weight, support, None, 2, 1)
    assert found == [True]


def test_second_derivatives_are_torchs(found: list[bool]) -> None:
    """What is differentiated again is the gradient at every place."""
    x, weight = torch.randn(5, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    out = sampled(Linear(), torch.zeros(5, 4, dtype=torch.bool))(x, weight)
    (got,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
    assert_as_exact([got], lambda change: [2 * change(x) @ change(weight).T @ change(weight)])
    assert not found


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 1000])
def test_bools_as_bits(n: int) -> None:
    x = torch.rand(n) < 0.4
    events = kernels.mark_bools(x, 1)
    assert events.number == int(x.sum())
    assert torch.equal(kernels.spread(events.bits, (n,)), x.float())


def test_too_many_places_are_not_worth_it() -> None:
    layer, support = linear(torch.zeros(10, 10), torch.zeros(5, 10)), torch.eye(10, dtype=torch.bool)
    assert marked_support(layer, support, 9) is None
    assert marked_support(layer, support, 10) is not None
    assert marked_support(layer, support.T, 9) is None


def test_crossover() -> None:
    """None of few rows, or outputs; half of what does not stay in the cache."""

    def part(operation: Any, x: tuple[int, ...], weight: tuple[int, ...]) -> float:
        return crossover.most_sampled(operation.shape(x, weight)) / torch.Size(x).numel()

    assert part(Linear(), (8000, 512), (512, 512)) == pytest.approx(0.17, abs=1e-3)
    assert part(Linear(), (999, 512), (512, 512)) == 0
    assert part(Linear(), (8000, 512), (63, 512)) == 0
    near, far = Convolution((1, 1), (1, 1)), (16, 256, 16, 16)
    assert part(near, far, (128, 256, 3, 3)) == pytest.approx(0.25, abs=1e-3)
    assert part(near, far, (256, 256, 3, 3)) == pytest.approx(0.125, abs=1e-3)
    assert part(near, (200, 4, 28, 28), (64, 4, 3, 3)) == 0, "few channels have a kernel of their own"


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    "windows", [(2,), (3, 2, 1), ((2, 3), (1, 2), 0, 2, True)], ids=["halves", "overlapping", "everything"]
)
def test_pools_hand_on_what_is_wanted(windows: tuple[Any, ...], channels_last: bool) -> None:
    torch.manual_seed(0)
    x, support = (torch.rand(2, 4, 71, 70) < 0.2).float(), torch.rand(2, 4, 71, 70) < 0.3
    x = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    out = max_pool2d(x.requires_grad_(), *windows)
    assert out is not None
    taken = nnf.max_pool2d(x, *windows, return_indices=True)[1]
    want = support.flatten(2).gather(2, taken.flatten(2)).view(taken.shape)
    assert 0 < want.sum() < want.numel()
    found = pooled_support(out, support)
    assert found is not None
    assert torch.equal(found, want)
    assert pooled_support(x.relu(), support) is None


def test_spikes_that_nobody_holds_are_forgotten() -> None:
    supports, spikes = Supports(), torch.zeros(6, 4, requires_grad=True) * 2
    supports.note(spikes, torch.rand(6, 4) < 0.5)
    view = spikes.view(24)
    del spikes
    assert supports.of(view) is not None
    del view
    assert not supports._of


def test_spikes_without_a_gradient_are_not_noted() -> None:
    supports, spikes = Supports(), torch.zeros(3)
    supports.note(spikes, torch.zeros(3, dtype=torch.bool))
    assert supports.of(spikes) is None
    assert supports.of(torch.zeros(4)) is None
