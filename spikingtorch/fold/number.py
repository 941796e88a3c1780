"""Number: a tensor in the place of a number, of which code of the user's sees what it would see of a number."""

import sys
from typing import Any

import torch
from torch import Tensor

from spikingtorch.fold.trace import LIBRARIES, Objection
from spikingtorch.functional.core.torch_private import DisableTorchFunctionSubclass

_NUMBERS = {*dir(float), *dir(int)}
# kinds of tensors, by the kind of number that they stand for
_DTYPES = {torch.int64: int, torch.float16: float, torch.bfloat16: float, torch.float32: float, torch.float64: float}


class Number(Tensor):
    """A tensor without axes that computes as a number does, and can be looked at in no other way.

    What is computed from such tensors alone, by operators, is one as well.
    """

    @classmethod
    def of(cls, number: float) -> Tensor:
        """Return one, of the kind that torch takes such a number for."""
        return torch.tensor(number).as_subclass(cls)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with DisableTorchFunctionSubclass():
            out = func(*args, **(kwargs or {}))
            given = [x for x in (*args, *(kwargs or {}).values()) if isinstance(x, Tensor)]
            computed = (
                all(type(x) is cls for x in given) and getattr(Tensor, getattr(func, "__name__", ""), None) is func
            )
            if computed and type(out) is Tensor and out.ndim == 0:
                out.__class__ = cls  # as the tensor that a trace has noted
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
