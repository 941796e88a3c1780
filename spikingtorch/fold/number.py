"""Number: a tensor that replaces a number, and looks like a number to the user's code."""

import sys
from typing import Any

import torch
from torch import Tensor

from spikingtorch.fold.trace import LIBRARIES, Objection
from spikingtorch.functional.core.torch_private import DisableTorchFunctionSubclass

_NUMBERS = {*dir(float), *dir(int)}
# the type of number that a tensor of each dtype stands for
_DTYPES = {torch.int64: int, torch.float16: float, torch.bfloat16: float, torch.float32: float, torch.float64: float}


class Number(Tensor):
    """A tensor without axes that supports arithmetic like a number, and refuses any other use.

    A result that operators compute from such tensors only is a Number as well.
    """

    @classmethod
    def of(cls, number: float) -> Tensor:
        """Return a Number, with the dtype that torch gives to such a number."""
        return torch.tensor(number).as_subclass(cls)

    def as_tensor(
        self, *, dtype: torch.dtype | None = None, device: Any = None, requires_grad: bool = False, **_: Any
    ) -> Tensor:
        """Return what ``torch.tensor`` makes of the number, without torch's warning that a tensor is copied."""
        with DisableTorchFunctionSubclass():
            return self.detach().to(device, dtype or self.dtype, copy=True).requires_grad_(requires_grad)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with DisableTorchFunctionSubclass():
            out = func(*args, **(kwargs or {}))
            given = [x for x in (*args, *(kwargs or {}).values()) if isinstance(x, Tensor)]
            computed = (
                all(type(x) is cls for x in given) and getattr(Tensor, getattr(func, "__name__", ""), None) is func
            )
            if computed and type(out) is Tensor and out.ndim == 0:
                out.__class__ = cls  # not a new tensor: the trace has noted this one
            return out

    def __hash__(self) -> int:
        raise Objection("finds something by a number that changes, in a dict or a set")

    def __format__(self, _: str) -> str:
        raise Objection("writes a number that changes as a text")

    def __repr__(self, *, tensor_contents: object = None) -> str:  # type: ignore[override]
        return f"{self}"

    def __getattribute__(self, name: str) -> Any:
        ask = super().__getattribute__
        if name == "__class__":
            with DisableTorchFunctionSubclass():
                return _DTYPES.get(ask("dtype"), Number)
        own = name in _NUMBERS or name.startswith("__")
        if not own and not sys._getframe(1).f_code.co_filename.startswith((*LIBRARIES, __file__)):
            raise AttributeError(f"a number has no attribute {name}")
        return ask(name)
