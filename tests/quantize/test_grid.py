"""Whole numbers times a power of two, against Python's fractions."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from spikingtorch.quantize.grid import exponent_of, power_of_two, whole_numbers

TENSORS = {
    "weights": torch.randn(50, generator=torch.Generator().manual_seed(0)),
    "bfloat16": torch.randn(9, generator=torch.Generator().manual_seed(2)).bfloat16(),
    "even": torch.tensor([[-8.0, 12.0], [4.0, 0.0]]),
    "zeros": torch.tensor([0.0, -0.0]),
    "none": torch.zeros(0, 3),
    "subnormal": torch.tensor([5e-324], dtype=torch.float64),
    "large": torch.tensor([3.0 * 2.0**100]),
    "whole": torch.tensor([12, -4]),
    "view": torch.arange(24.0).reshape(4, 6).T[::2] / 4,
}


def scaled(tensor: Tensor, e: int) -> list[Fraction]:
    return [Fraction(each) * Fraction(2) ** e for each in tensor.double().flatten().tolist()]


@pytest.mark.parametrize("name", TENSORS)
def test_the_exponent_is_the_smallest_that_gives_whole_numbers(name: str) -> None:
    tensor = TENSORS[name]
    e = exponent_of(tensor)
    assert whole_numbers(tensor, e).flatten().tolist() == scaled(tensor, e)
    assert whole_numbers(tensor, e + 3).flatten().tolist() == scaled(tensor, e + 3)
    assert any(each.denominator == 2 for each in scaled(tensor, e - 1)) or not tensor.any()


def test_numbers_off_the_grid_are_refused() -> None:
    with pytest.raises(ValueError, match=r"1 of 2 numbers, 0.25 for instance, are no whole numbers times 2\*\*-1"):
        whole_numbers(torch.tensor([0.5, 0.25]), 1)
    with pytest.raises(ValueError, match="no whole numbers"):
        whole_numbers(torch.tensor([2.0**-149, 1.0]), 149)
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
