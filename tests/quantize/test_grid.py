"""Whole numbers times a power of two, against Python's fractions."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from spikingtorch.quantize.grid import exponent_of, power_of_two, through, whole_numbers


def exponent_by_fractions(tensor: Tensor) -> int:
    """Return the smallest e with every number times 2**e whole."""
    numbers = [Fraction(each) for each in tensor.double().flatten().tolist() if each]
    if not numbers:
        return 0
    e = max(each.denominator.bit_length() - 1 for each in numbers)
    while all((each * Fraction(2) ** (e - 1)).denominator == 1 for each in numbers):
        e -= 1
    return e


TENSORS = {
    "weights": torch.randn(50, generator=torch.Generator().manual_seed(0)),
    "float64": torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(1)),
    "bfloat16": torch.randn(9, generator=torch.Generator().manual_seed(2)).bfloat16(),
    "eighths": torch.arange(-7.0, 8.0) / 8,
    "even": torch.tensor([[-8.0, 12.0], [4.0, 0.0]]),
    "zeros": torch.tensor([0.0, -0.0]),
    "none": torch.zeros(0, 3),
    "tiny": torch.tensor([2.0**-149, 1.0]),
    "subnormal": torch.tensor([5e-324], dtype=torch.float64),
    "large": torch.tensor([3.0 * 2.0**100]),
    "whole": torch.tensor([12, -4]),
    "view": torch.arange(24.0).reshape(4, 6).T[::2] / 4,
}


@pytest.mark.parametrize("name", TENSORS)
def test_the_exponent_is_that_of_fractions(name: str) -> None:
    assert exponent_of(TENSORS[name]) == exponent_by_fractions(TENSORS[name])


@pytest.mark.parametrize("name", sorted({*TENSORS} - {"tiny", "float64"}))
def test_whole_numbers_give_the_tensor_back(name: str) -> None:
    tensor = TENSORS[name]
    for finer in (0, 3):
        e = exponent_of(tensor) + finer
        whole = whole_numbers(tensor, e)
        assert whole.dtype == torch.int64
        assert whole.shape == tensor.shape
        numbers = [Fraction(each) * Fraction(2) ** e for each in tensor.double().flatten().tolist()]
        assert whole.flatten().tolist() == numbers


def test_numbers_off_the_grid_are_refused() -> None:
    with pytest.raises(ValueError, match=r"1 of 2 numbers, 0.25 for instance, are no whole numbers times 2\*\*-1"):
        whole_numbers(torch.tensor([0.5, 0.25]), 1)
    with pytest.raises(ValueError, match="no whole numbers"):
        whole_numbers(TENSORS["tiny"], exponent_of(TENSORS["tiny"]))
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="NaN or infinities"):
            exponent_of(torch.tensor([1.0, wrong]))
        with pytest.raises(ValueError, match="no whole numbers"):
            whole_numbers(torch.tensor([1.0, wrong]), 3)


@pytest.mark.parametrize(("dtype", "least", "most"), [(torch.float32, -126, 127), (torch.float64, -1022, 1023)])
def test_powers_of_two_are_exact(dtype: torch.dtype, least: int, most: int) -> None:
    exponents = torch.arange(least, most + 1)
    assert power_of_two(exponents, dtype).tolist() == [2.0**e for e in range(least, most + 1)]
    assert power_of_two(torch.tensor([-5000, 5000]), dtype).tolist() == [2.0**least, 2.0**most]


def test_straight_through_takes_values_and_gradients_apart() -> None:
    x = (torch.randn(1000) * 100).requires_grad_()
    y, cotangent = through(torch.floor(x), x), torch.randn(1000)
    assert torch.equal(y, torch.floor(x))
    (found,) = torch.autograd.grad(y, x, cotangent)
    assert torch.equal(found, cotangent)
    assert through(torch.ones(2), torch.tensor([float("nan"), float("inf")])).isnan().all()
