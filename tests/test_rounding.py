"""The comparison of float32 results with float64 lets another order of a sum pass, and nothing else."""

from functools import partial

import pytest
import torch
from torch import Tensor

from tests.rounding import Change, assert_as_exact

TERMS = torch.randn(960, 50, generator=torch.Generator().manual_seed(0))


def in_order(change: Change = torch.clone) -> list[Tensor]:
    """Add rows one by one."""
    first, *others = change(TERMS)
    return [sum(others, start=first)]


def in_lanes(change: Change = torch.clone) -> list[Tensor]:
    """Add rows in sixteen lanes, and then the lanes."""
    lanes = change(TERMS).view(60, 16, 50)
    first, *others = sum(lanes[1:], start=lanes[0])
    return [sum(others, start=first)]


def test_another_order() -> None:
    assert not torch.equal(in_order()[0], in_lanes()[0])
    assert_as_exact(in_lanes(), in_order)
    assert_as_exact(in_order(), in_lanes)


@pytest.mark.parametrize("wrong", [1 + 1e-5, 1 - 1e-5], ids=str)
def test_an_error_of_one_in_a_hundred_thousand(wrong: float) -> None:
    with pytest.raises(AssertionError, match=r"result\[0\]: error 1.*e-05, allowed"):
        assert_as_exact([in_order()[0] * wrong], in_order)


def test_a_term_that_is_left_out() -> None:
    with pytest.raises(AssertionError, match=r"sum\[0\]: error"):
        assert_as_exact([in_order()[0] - TERMS[7]], in_order, "sum")


def of_three(change: Change = torch.clone, *, last: int) -> list[Tensor]:
    """Add three numbers, one of them last, in an order that keeps the second one or in one that rounds it away."""
    x = change(torch.tensor([1.0, 2.0**-24, -0.75]))
    others = x[torch.arange(3) != last]
    return [others[0] + others[1] + x[last]]


def test_a_single_number_that_torch_rounds_well() -> None:
    exact = of_three(torch.Tensor.double, last=1)[0]
    assert of_three(last=1)[0] == exact != of_three(last=2)[0]
    assert_as_exact(of_three(last=2), partial(of_three, last=1))


def test_inputs_of_which_a_rounding_makes_another_result() -> None:
    def spikes(change: Change = torch.clone) -> list[Tensor]:
        return [(change(torch.tensor([0.5, 1.0, 1.5])) >= 1.0).double().sum()]

    with pytest.raises(AssertionError, match="draw other inputs"):
        assert_as_exact([spikes()[0] - 1], spikes)


def test_what_is_not_finite_and_what_is_not_there() -> None:
    x = torch.tensor([1.0, torch.inf, -torch.inf, torch.nan])
    assert_as_exact([x, None], lambda change: [change(x), None])
    for index, value in ((0, torch.nan), (1, 3e38), (1, -torch.inf), (3, torch.inf)):
        wrong = x.clone()
        wrong[index] = value
        with pytest.raises(AssertionError):
            assert_as_exact([wrong], lambda change: [change(x)])
    for other in (None, x[:3], x.double()):
        with pytest.raises(AssertionError, match=r"result\[0\]: .*, expected"):
            assert_as_exact([other], lambda change: [change(x)])
    with pytest.raises(AssertionError, match=r"result\[0\]: .*, expected None"):
        assert_as_exact([x], lambda change: [None])
