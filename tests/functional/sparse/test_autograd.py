"""What torch does around a layer: second derivatives, hooks on saved tensors, batches of gradients."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.sparse import kernels
from tests.functional.sparse.cases import CASES, Case, draw, outcome
from tests.rounding import Change, Results, assert_as_exact
from tests.surroundings import calls_of

pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = ("linear-time", "conv-strides", "conv-small")
few_cases = pytest.mark.parametrize("case", [CASES[name] for name in NAMES], ids=NAMES)
both = pytest.mark.parametrize("graded", [False, True], ids=["spikes", "graded"])


@pytest.fixture
def backward_kernels(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each weight gradient by kernels, whether it came from bits."""
    return calls_of(monkeypatch, kernels, "weight_gradient", lambda result, s, events, g: events.graded is None)


@pytest.mark.sampled
@both
@few_cases
def test_second_derivatives(case: Case, graded: bool) -> None:
    torch.manual_seed(0)
    for which in ([0, 1, 2], [0], [1], [0, 1]):
        tensors = [tensor.detach() for tensor in draw(case, 0.3, graded)]
        second = partial(twice, which, tensors, case.options)
        assert_as_exact(second(case.event), partial(second, case.dense), str(which))


def twice(which: list[int], tensors: list[Tensor], options: Any, layer: Any, change: Change = torch.clone) -> Results:
    """Return the gradients of some of the tensors, and those of the sum of their squares."""
    given = [change(tensor).requires_grad_(index in which) for index, tensor in enumerate(tensors)]
    leaves = [given[index] for index in which]
    # the input is no leaf, as it is in a network
    x = given[0] * 1 if 0 in which else given[0]
    out = layer(x, *given[1:], *options).sin()
    grads = torch.autograd.grad(out.sum(), leaves, create_graph=True)
    seconds = torch.autograd.grad(torch.stack([(g**2).sum() for g in grads]).sum(), leaves)
    return [each.detach() for each in (*grads, *seconds)]


@few_cases
def test_spikes_are_kept_as_bits(case: Case, backward_kernels: list[bool]) -> None:
    torch.manual_seed(0)
    for graded in (False, True):
        tensors = draw(case, 0.3, graded)
        out: Any = case.event(*tensors, *case.options)
        raw = out.grad_fn._raw_saved_tensors
        assert len(raw) == 2
        # the bits, if there are some, are beside the saved tensors
        assert (out.grad_fn.bits is None) is graded
        out.sum().backward()
    assert backward_kernels == [True, False]


@both
@few_cases
def test_hooks_see_all_that_is_saved(case: Case, graded: bool) -> None:
    torch.manual_seed(0)
    tensors, seen = draw(case, 0.3, graded), []

    def pack(tensor: Tensor) -> Tensor:
        seen.append(tensor.shape)
        return tensor.clone()

    want = outcome(case.event, tensors, case.options)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        got = outcome(case.event, tensors, case.options)
    assert seen == [tensors[0].shape, tensors[1].shape]
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("of_weight", [False, True])
def test_hooks_that_hand_back_something_else(of_weight: bool) -> None:
    x, weight = (torch.rand(6, 5) < 0.5).float().requires_grad_(), torch.randn(3, 5, requires_grad=True)

    def unpack(tensor: Tensor) -> Tensor:
        return tensor[:2] if (tensor.shape == weight.shape) is of_weight else tensor

    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, unpack):
        out = F.event_linear(x, weight)
    with pytest.raises(RuntimeError):
        out.sum().backward()


@pytest.mark.sampled
@both
@few_cases
def test_a_batch_of_gradients(case: Case, graded: bool) -> None:
    torch.manual_seed(0)
    tensors = [tensor.detach() for tensor in draw(case, 0.3, graded)]

    def batch(layer: Any, change: Change = torch.clone) -> Results:
        given = [change(tensor).requires_grad_() for tensor in tensors]
        out = layer(*given, *case.options)
        g = torch.randn(3, *out.shape, generator=torch.Generator().manual_seed(0))
        return torch.autograd.grad(out, given, g.to(out.dtype), is_grads_batched=True)

    assert_as_exact(batch(case.event), partial(batch, case.dense))


@both
def test_twice_backward(graded: bool) -> None:
    case = CASES["linear-small"]
    tensors = draw(case, 0.3, graded)
    out = case.event(*tensors)
    first = torch.autograd.grad(out.sum(), tensors, retain_graph=True)
    second = torch.autograd.grad(out.sum(), tensors)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(out.sum(), tensors)


def test_spikes_that_changed_in_place() -> None:
    """Their bits are those of the call."""
    x, weight = (torch.rand(6, 5) < 0.5).float(), torch.randn(3, 5, requires_grad=True)
    out, want = F.event_linear(x, weight), x.sum(0).expand(3, 5)
    x.zero_()
    out.sum().backward()
    torch.testing.assert_close(weight.grad, want)
