"""Whole numbers times a power of two, in floating tensors: exact powers, exponents, and the numbers."""

from typing import NoReturn

import torch
from torch import Tensor

from spikingtorch.functional.rounding import through as through

# bits of a mantissa with the leading one, and the bias of an exponent
_MANTISSA = {torch.float32: (24, 127, torch.int32), torch.float64: (53, 1023, torch.int64)}
# float64 holds every whole number up to here
_WHOLE = 2.0**53


def power_of_two(exponent: Tensor, dtype: torch.dtype) -> Tensor:
    """Return 2 to a whole power, exact on every device, which ``torch.exp2`` does not promise.

    Args:
        exponent: int32 or int64; cut to the normal numbers of the dtype.
        dtype: float32 or float64.

    >>> power_of_two(torch.tensor([-3, 0, 4]), torch.float32).tolist()
    [0.125, 1.0, 16.0]
    """
    mantissa, bias, bits = _MANTISSA[dtype]
    return ((exponent.clamp(1 - bias, bias).to(bits) + bias) << (mantissa - 1)).view(dtype)


def power_below(x: Tensor) -> Tensor:
    """Return the largest power of two that is at most x, for x of float32 or float64 from 2^-100 on; else 2^-100.

    >>> power_below(torch.tensor([0.3, 4.0, 5.0])).tolist()
    [0.25, 4.0, 4.0]
    """
    mantissa, bias, bits = _MANTISSA[x.dtype]
    exponent_bits = (2 * bias + 1) << (mantissa - 1)
    return (x.clamp_min(2.0**-100).view(bits) & exponent_bits).view(x.dtype)


def exponent_of(tensor: Tensor) -> int:
    """Return the smallest e for which every number of a tensor times 2**e is whole; 0 if all of them are 0.

    Raises:
        ValueError: the tensor holds NaN or infinities.

    >>> exponent_of(torch.tensor([0.75, -2.0])), exponent_of(torch.tensor([8.0]))
    (2, -3)
    """
    numbers = tensor.detach().double().flatten()
    if not bool(numbers.isfinite().all()):
        raise ValueError("exponent_of: the tensor holds NaN or infinities, which are on no grid")
    numbers = numbers[numbers != 0]
    if len(numbers) == 0:
        return 0
    mantissas, exponents = torch.frexp(numbers)
    whole = (mantissas * _WHOLE).long()
    lowest = torch.frexp((whole & -whole).double())[1] - 1  # number of zeros at the end
    return int((53 - lowest - exponents).max())


def whole_numbers(tensor: Tensor, exponent: int) -> Tensor:
    """Return a tensor times 2**exponent as int64.

    Args:
        tensor: of any real dtype.
        exponent: e of the grid 2**-e.

    Raises:
        ValueError: a number is not on the grid, or its whole number is beyond 2**53.

    >>> whole_numbers(torch.tensor([0.75, -2.0]), 2).tolist()
    [3, -8]
    """
    numbers = tensor.detach().double()
    scaled = torch.ldexp(numbers, torch.tensor(exponent, device=numbers.device))
    whole = scaled.round()
    off = (scaled != whole) | (torch.ldexp(whole, torch.tensor(-exponent, device=numbers.device)) != numbers)
    off |= whole.abs() > _WHOLE
    if bool(off.any()):
        _refuse(numbers, off, exponent)
    return whole.long()


def _refuse(numbers: Tensor, off: Tensor, exponent: int) -> NoReturn:
    first = float(numbers[off][0])
    raise ValueError(
        f"whole_numbers: {int(off.sum())} of {off.numel()} numbers, {first!r} for instance, are no whole numbers times "
        f"2**{-exponent} below 2**53 of them; exponent_of(tensor) returns an exponent that fits"
    )
