"""Graded inputs on a grid: whole numbers of few bits times a power of two."""

from typing import Any

import torch
from torch import Tensor, nn

from spikingtorch.quantize.grid import through


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
