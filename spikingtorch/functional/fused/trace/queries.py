"""Watch queries of tensors that are not operations, and arithmetic on floats that the trace holds as tensors."""

import sys
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from spikingtorch.functional.core.torch_private import DisableTorchFunction
from spikingtorch.functional.core.tree import leaves_of
from spikingtorch.functional.fused.errors import NotFusible
from spikingtorch.functional.fused.trace.recorder import Recorder, place
from spikingtorch.functional.fused.trace.snapshot import NotHeld

_OTHERS = (str(Path(torch.__file__).parent), str(Path(__file__).parents[3]))
_INDEXED: tuple[Any, ...] = (Tensor.__getitem__, Tensor.__setitem__)
_NO_KERNEL_KNOWS = "which no kernel knows; pass a number in params"
_LEAVES_TORCH = {"numpy", "tolist", "__array__", "__dlpack__", "apply_", "map_", "__repr__", "__format__"}
_SIZES = {"shape", "size", "numel", "nelement", "nbytes", "stride"}
_MEMORY = {"is_contiguous", "storage_offset", "data_ptr", "untyped_storage", "storage", "_base", "_is_view"}
_ABOUT = _SIZES | _MEMORY | {"__len__"}
# functions that Python computes for floats differently from torch for tensors without axes
_OF_FLOATS = {"pow", "__pow__", "__rpow__", "float_power", "remainder", "__mod__", "__rmod__", "fmod"}
_OF_FLOATS |= {"floor_divide", "__floordiv__", "__rfloordiv__"}
_DIVISIONS: tuple[Any, ...] = (Tensor.div, Tensor.__rdiv__)
_MAKES_TENSORS = {"as_tensor", "tensor", "asarray", "scalar_tensor"}
# functions that read the numbers of tensors without an operation: they make a tensor from a list of tensors
_READS = {"__float__", "__index__", "__int__", "__bool__", "__complex__"}
_TAKES_LISTS = _MAKES_TENSORS | {"new_tensor", "new"}
_COMPARES = {"gt", "ge", "lt", "le", "eq", "ne", "greater", "less"}


class TensorQueries(TorchFunctionMode):
    """Note questions whose answer differs during tracing: the number of neurons, or the values of a tensor.

    For an index such as ``u[..., :100]`` of a tensor that is not longer, torch takes the whole tensor, without an
    operation. Outer modes and tensor subclasses do not see these calls. ``refusal`` is the first such question, or
    None.
    """

    def __init__(self) -> None:
        super().__init__()
        self.refusal: NotFusible | None = None
        self.recorder: Recorder | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Examine a call, and execute it."""
        kwargs = kwargs or {}
        if self.refusal is None and (found := self._asked(func, args, kwargs)) is not None:
            outside = isinstance(args[0], Tensor) and self.recorder is not None and not self._is_traced(args[0])
            self.refusal = (NotHeld if outside else NotFusible)(f"{found}, {place(in_gradient=False)}")
            raise self.refusal  # before it is done
        if kwargs.get("generator") is not None:  # before it draws, so that the loop draws the same numbers
            raise NotFusible(f"draws random numbers from a generator, {place(in_gradient=False)}")
        with DisableTorchFunction():
            if func is Tensor.div and self._is_float(args[0]) and not self._is_float(args[1]):
                return args[1].reciprocal() * args[0]  # as float / tensor is computed
            if func is Tensor.__rdiv__ and self._is_float(args[0]):
                return torch.full_like(args[0], args[1]) / args[0]
            others = [arg for arg in args if isinstance(arg, Tensor) and not self._is_float(arg)]
            if others and all(other.ndim == 0 and other.is_floating_point() for other in others):
                # a float takes the dtype of a tensor, even of one without axes
                args = [self._as_tensor(arg.to(others[0].dtype)) if self._is_float(arg) else arg for arg in args]
            out = func(*args, **kwargs)
            if func.__name__ in _MAKES_TENSORS and self._is_float(out):
                out = self._as_tensor(out)
            # a copy of other tensors must not be mistaken for this one
            return out.view_as(out) if func is Tensor.contiguous and out is args[0] else out

    def _as_tensor(self, value: Tensor) -> Tensor:
        """Return a value computed from floats as a tensor if it is a tensor on the loop too."""
        assert self.recorder is not None
        found = value.view_as(value)
        self.recorder.floats.discard(id(found))
        return found

    def _is_traced(self, tensor: Tensor) -> bool:
        """Return True if a tensor belongs to the trace."""
        return self.recorder is not None and self.recorder.has_made(tensor)

    def _is_float(self, value: Any) -> bool:
        """Return True if a tensor stands for a float parameter, or for a value computed only from floats."""
        return self.recorder is not None and isinstance(value, Tensor) and id(value) in self.recorder.floats

    def _asked(self, func: Any, args: Any, kwargs: dict[str, Any]) -> str | None:
        """Return the question of a call, as the rest of a sentence about the step; None if it asks nothing."""
        name = getattr(func, "__name__", "")
        owner = getattr(getattr(func, "__self__", None), "__name__", "")
        asked = owner or name
        if asked in _ABOUT and not (isinstance(args[0], Tensor) and self._is_traced(args[0])):
            return None  # of a tensor that stays unchanged
        if asked in _SIZES and _user_asks():
            return f"reads the size of its tensors ({asked}), {_NO_KERNEL_KNOWS}"
        if asked in _MEMORY and _user_asks():
            return f"asks for the memory layout of its tensors ({asked}), whose answer differs during tracing"
        if func is Tensor.__len__:
            return f"reads the size of its tensors (len), {_NO_KERNEL_KNOWS}"
        if func in _INDEXED:
            parts = args[1] if isinstance(args[1], tuple | list) else (args[1],)
            if any(isinstance(part, slice) and (part.start or part.stop is not None) for part in parts):
                return f"takes a part of its neurons by their number, {_NO_KERNEL_KNOWS}"
        if name in _LEAVES_TORCH:
            return f"leaves torch, with {name}, where no trace follows it"
        if name == "__set__" and owner in ("data", "grad"):
            return f"puts other numbers into a tensor, by .{owner}"
        if name in _READS or (name in _TAKES_LISTS and _has_tensors_in_lists((*args, *kwargs.values()))):
            return "reads the value of a tensor, to make another one of it"
        tensors = [arg for arg in args if isinstance(arg, Tensor)]
        floats = [arg for arg in tensors if self._is_float(arg)]
        default = name in _MAKES_TENSORS and kwargs.get("dtype") is None
        if floats and (name in _OF_FLOATS or default or (name in _COMPARES and len(floats) == len(tensors))):
            return f"computes with floats a function that torch computes differently ({name})"
        if len(floats) == len(tensors) > 0 and func in _DIVISIONS and not self._notes_divisor(func, args):
            return f"divides by a value computed from floats, where zero is an error ({name})"
        return None

    def _notes_divisor(self, func: Any, args: Any) -> bool:
        """Record that a float parameter is a divisor, which must not be zero; return whether it is a parameter."""
        assert self.recorder is not None
        divisor = args[0] if func is Tensor.__rdiv__ else args[1]
        if not isinstance(divisor, Tensor):
            return bool(divisor != 0)
        places = [place for place, each in enumerate(self.recorder.examples.floats) if each is divisor]
        self.recorder.divisors.update(places)
        return len(places) > 0


def _has_tensors_in_lists(args: Iterable[Any]) -> bool:
    return any(isinstance(leaf, Tensor) for arg in args if not isinstance(arg, Tensor) for leaf in leaves_of(arg))


def _user_asks() -> bool:
    """Return True if the user's code asks, and not torch or this library."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return frame is not None and not frame.f_code.co_filename.startswith(_OTHERS)
