"""Whole numbers times a power of two, in floating tensors, and the straight-through gradient."""

from typing import NoReturn

import torch
from torch import Tensor

# bits of a mantissa with the leading one, and the bias of an exponent
_MANTISSA = {torch.float32: (24, 127, torch.int32), torch.float64: (53, 1023, torch.int64)}
# float64 holds every whole number up to here
_WHOLE = 2.0**53


def through(exact: Tensor, x: Tensor) -> Tensor:
    """Return the values of exact with the gradient of x: the straight-through estimator.

        y = exact,  dL/dx = dL/dy

    The value is that of exact bit by bit, but for -0, which becomes 0; infinities and NaN in x become NaN.

    Args:
        exact: the values, such as ``torch.round(x)``; its own gradient is not used.
        x: gets the gradient; of the same shape.

    >>> x = torch.tensor([0.4, 1.6], requires_grad=True)
    >>> y = through(torch.round(x), x)
    >>> y.sum().backward()
    >>> y.tolist(), x.grad.tolist()
    ([0.0, 2.0], [1.0, 1.0])
    """
    return exact.detach() + (x - x.detach())


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
