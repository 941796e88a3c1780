"""Whole numbers times a power of two: powers, exponents and numbers in floating tensors, and graded inputs as such."""

from typing import Any, NoReturn

import torch
from torch import Tensor, nn

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


class RoundedInput(nn.Module):
    """Round inputs to b bits, and clip what is beyond them.

        y = clip(round(x 2^e), low, high) 2^-e,  low, high = 0, 2^b - 1  or  -2^(b-1), 2^(b-1) - 1 if signed
        dL/dx = dL/dy within low and high, else 0;  round half to even

    ``prepare_qat(model, inputs=...)`` puts it in front of a network, and it may stand first in an ``nn.Sequential``.

    Args:
        bits: b, from 1 to 16.
        exponent: e; by default b without a sign and b - 1 with one, for inputs from 0 or -1 to 1.
        signed: whether inputs may be negative.

    Raises:
        ValueError: bits or exponent is out of range.

    >>> RoundedInput(2)(torch.tensor([-0.3, 0.2, 0.6, 1.0])).tolist()
    [0.0, 0.25, 0.5, 0.75]
    """

    def __init__(self, bits: int, exponent: int | None = None, *, signed: bool = False) -> None:
        super().__init__()
        exponent = bits - signed if exponent is None else exponent
        for name, value, least, most in (("bits", bits, 1, 16), ("exponent", exponent, -100, 100)):
            if type(value) is not int or not least <= value <= most:
                raise ValueError(f"RoundedInput: {name}={value!r}, expected a whole number from {least} to {most}")
        self.bits, self.exponent, self.signed = bits, exponent, bool(signed)

    @property
    def range(self) -> tuple[int, int]:
        """The smallest and the largest whole number."""
        if self.signed:
            return -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1
        return 0, 2**self.bits - 1

    def forward(self, x: Tensor) -> Tensor:
        """Return the rounded inputs, of any shape."""
        inside = torch.clamp(x * 2.0**self.exponent, *self.range)
        return through(torch.round(inside), inside) * 2.0**-self.exponent

    def extra_repr(self) -> str:
        """Name the grid."""
        return f"bits={self.bits}, exponent={self.exponent}, signed={self.signed}"


class InputHook:
    """A forward pre-hook that rounds the first input of a model, (N, T, ...) of a SpikingNet.

    On a SpikingNet it rounds whole sequences, so that the network folds as before.
    """

    def __init__(self, rounding: RoundedInput) -> None:
        self.rounding = rounding

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ARG002
        """Return the arguments with rounded inputs."""
        if args:
            return (self.rounding(args[0]), *args[1:]), kwargs
        return args, {name: self.rounding(value) if name == "x" else value for name, value in kwargs.items()}


def rounding_of_inputs(model: nn.Module) -> RoundedInput | None:
    """Return the rounding that ``prepare_qat(model, inputs=...)`` has put in front of a model, or None."""
    hooks = [hook for hook in model._forward_pre_hooks.values() if isinstance(hook, InputHook)]
    return hooks[0].rounding if hooks else None


def round_inputs(model: nn.Module, rounding: RoundedInput) -> None:
    """Put a rounding in front of a model."""
    model.register_forward_pre_hook(InputHook(rounding), prepend=True, with_kwargs=True)


def leave_inputs(model: nn.Module) -> None:
    """Take the rounding in front of a model away."""
    for key, hook in [*model._forward_pre_hooks.items()]:
        if isinstance(hook, InputHook):
            del model._forward_pre_hooks[key]
            model._forward_pre_hooks_with_kwargs.pop(key, None)
