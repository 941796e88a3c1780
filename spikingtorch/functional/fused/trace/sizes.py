"""Sizes: what a step asks of tensors that no operation tells, for it depends on how long they are."""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from spikingtorch.functional.fused.errors import NotFusible
from spikingtorch.functional.fused.trace.recorder import place

_INDEXED: tuple[Any, ...] = (Tensor.__getitem__, Tensor.__setitem__)
_NO_KERNEL_KNOWS = "which no kernel knows; pass a number in params"


class Sizes(TorchFunctionMode):
    """Notes where a step counts neurons: with ``len``, or by an index up to a number, ``u[..., :100]``.

    Of a tensor that is no longer than that, torch takes all of it, without an operation. Modes around it, and
    subclasses of tensors, see nothing of what is called.

    Attributes:
        refusal: the first such place, None if there was none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.refusal: NotFusible | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at a call, and call it."""
        if self.refusal is None and (found := _counted(func, args)) is not None:
            self.refusal = NotFusible(f"{found}, {_NO_KERNEL_KNOWS}, {place(in_gradient=False)}")
        with torch._C.DisableTorchFunction():
            return func(*args, **(kwargs or {}))


def _counted(func: Any, args: Any) -> str | None:
    """Return how a call counts neurons."""
    if func is Tensor.__len__:
        return "reads the size of its tensors (len)"
    if func in _INDEXED:
        parts = args[1] if isinstance(args[1], tuple) else (args[1],)
        if any(isinstance(part, slice) and (part.start or part.stop is not None) for part in parts):
            return "takes a part of its neurons by their number"
    return None
