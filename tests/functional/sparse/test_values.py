"""Values and gradients beside torch's, in float64 and float32."""

from functools import partial
from random import Random
from typing import Any

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.sparse.choose import choose
from spikingtorch.functional.sparse.operations import Layer
from tests import drawn
from tests.functional.sparse.cases import CASES, DENSITIES, Case, check, dense, draw, outcome, random_case
from tests.rounding import Change, assert_as_exact

pytestmark = pytest.mark.usefixtures("one_thread")
every_case = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))


@pytest.mark.sampled
@pytest.mark.parametrize("graded", [False, True], ids=["spikes", "graded"])
@every_case
def test_every_density(case: Case, graded: bool) -> None:
    torch.manual_seed(0)
    for density in DENSITIES:
        check(case, draw(case, density, graded))


@pytest.mark.sampled
@pytest.mark.parametrize("seed", range(8))
def test_random_shapes(seed: int) -> None:
    torch.manual_seed(seed)
    rng = Random(seed)
    for _ in range(5):
        case = random_case(rng)
        check(case, draw(case, rng.choice(DENSITIES), rng.random() < 0.5))


def test_by_hand() -> None:
    x, weight, bias = torch.tensor([0.0, 2.0, 1.0]), torch.tensor([[1.0, 10.0, 100.0]]), torch.tensor([0.5])
    for each in (x, weight):
        each.requires_grad_()
    out = F.event_linear(x, weight, bias)
    assert out.tolist() == [120.5]
    of_x, of_weight = torch.autograd.grad(out, (x, weight), torch.tensor([2.0]))
    assert of_x.tolist() == [2.0, 20.0, 200.0]
    assert of_weight.tolist() == [[0.0, 4.0, 2.0]]


def strided(tensor: Tensor) -> Tensor:
    return torch.stack([tensor, tensor.new_full(tensor.shape, torch.nan)], -1)[..., 0]


def reversed_axes(tensor: Tensor) -> Tensor:
    axes = list(reversed(range(tensor.ndim)))
    return tensor.permute(axes).contiguous().permute(axes)


def channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def expanded(tensor: Tensor) -> Tensor:
    return tensor[:1].expand(tensor.shape)


def same_order(got: Tensor, want: Tensor) -> bool:
    formats = (torch.contiguous_format, torch.channels_last)[: 2 if want.ndim == 4 else 1]
    return all(got.is_contiguous(memory_format=f) == want.is_contiguous(memory_format=f) for f in formats)


def misaligned(tensor: Tensor) -> Tensor:
    return torch.cat([tensor.new_full((1,), torch.nan), tensor.flatten()])[1:].view(tensor.shape)


@pytest.mark.sampled
@pytest.mark.parametrize("change", [strided, reversed_axes, channels_last, expanded, misaligned])
@every_case
def test_every_layout(case: Case, change: Any) -> None:
    torch.manual_seed(0)
    tensors = [tensor.detach() for tensor in draw(case, 0.2)]
    for which in ([0], [1], [2], [0, 1, 2]):
        changed = [change(tensor) if index in which else tensor for index, tensor in enumerate(tensors)]
        given = [tensor.requires_grad_() for tensor in changed]
        assert choose(Layer(case.operation, *given)) is None
        got = outcome(case.event, given, case.options)
        assert_as_exact(got, dense(case.dense, given, case.options))
        assert same_order(got[0], case.dense(*given, *case.options))
        for tensor in tensors:
            tensor.requires_grad_(False)


@pytest.mark.sampled
@every_case
def test_every_combination_of_gradients(case: Case) -> None:
    torch.manual_seed(0)
    tensors = draw(case, 0.2)
    whole = outcome(case.event, tensors, case.options)[1:]
    for which in ([0], [1], [2], [0, 1], [0, 2], [1, 2]):
        given = [t.detach().requires_grad_(index in which) for index, t in enumerate(tensors)]
        out = case.event(*given, *case.options)
        _, *got = drawn.outcome(out, [given[index] for index in which])
        assert all(torch.equal(a, whole[index]) for a, index in zip(got, which, strict=True))
    with torch.no_grad():
        assert not case.event(*tensors, *case.options).requires_grad
    x, weight, _ = (tensor.detach() for tensor in tensors)
    bare = case.event(x, weight, None, *case.options)
    assert_as_exact([bare], lambda change: [case.dense(change(x), change(weight), None, *case.options)])


@pytest.mark.parametrize("options", [(1, 0), (2, 1), ((3,), (2,)), (1, "same"), (1, "valid")], ids=str)
def test_options_of_conv1d(options: tuple[Any, Any]) -> None:
    torch.manual_seed(0)
    for x, weight in (((2, 3, 20), (4, 3, 5)), ((1, 1, 7), (1, 1, 1))):
        case = Case(F.event_conv1d, nnf.conv1d, x, weight)
        tensors = draw(case, 0.2)
        assert_as_exact(outcome(F.event_conv1d, tensors, options), dense(nnf.conv1d, tensors, options))


@pytest.mark.parametrize(
    "options", [(2,), ((2, 1), 1), ([1, 2], [1, 0]), (1, "same"), (2, "valid"), ((2,), (1,))], ids=str
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
def test_options_of_conv2d(options: tuple[Any, ...]) -> None:
    torch.manual_seed(0)
    for kernel in ((3, 5), (2, 3)):
        case = Case(F.event_conv2d, nnf.conv2d, (2, 3, 9, 8), (4, 3, *kernel))
        tensors = draw(case, 0.2)
        assert_as_exact(outcome(F.event_conv2d, tensors, options), dense(nnf.conv2d, tensors, options))


@pytest.mark.parametrize("x", [(0, 5), (2, 0, 5), (3, 0)], ids=str)
@pytest.mark.parametrize("outputs", [0, 4])
def test_empty_linear(x: tuple[int, ...], outputs: int) -> None:
    check_empty(Case(F.event_linear, nnf.linear, x, (outputs, x[-1])))


def test_no_images() -> None:
    check_empty(Case(F.event_conv2d, nnf.conv2d, (0, 3, 5, 5), (4, 3, 3, 3), (1, 1)))


def check_empty(case: Case) -> None:
    got, want = (outcome(layer, draw(case, 0.2), case.options) for layer in case[:2])
    assert [tensor.shape for tensor in got] == [tensor.shape for tensor in want]
    assert all(not grad.any() for grad in got[1:3])


@pytest.mark.sampled
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf], ids=str)
@every_case
def test_numbers_that_are_not_finite(case: Case, value: float) -> None:
    """In the input they flow; in weights and output gradients, they meet zeros as well."""
    torch.manual_seed(0)
    for where in range(4):
        tensors = [tensor.detach() for tensor in draw(case, 0.2)]
        if where < 3:
            tensors[where].flatten()[tensors[where].numel() // 2] = value

        def of(layer: Any, change: Change = torch.clone) -> list[Tensor]:
            given = [change(tensor).requires_grad_() for tensor in tensors]  # noqa: B023
            out = layer(*given, *case.options)
            g = torch.ones_like(out)
            if where == 3:  # noqa: B023
                g.view(-1)[0] = value
            return [out.detach(), *torch.autograd.grad(out, given, g)]

        assert_as_exact(of(case.event), partial(of, case.dense))


def test_zeros_of_both_signs_and_numbers_that_are_nearly_zero() -> None:
    x = torch.tensor([[0.0, -0.0, 1e-40, -1.0], [1.0, 1.0, -0.0, 0.0]])
    weight = torch.tensor([[1.0, 2.0, 4.0, 8.0]])
    torch.testing.assert_close(F.event_linear(x, weight), x @ weight.T, rtol=0, atol=0)
