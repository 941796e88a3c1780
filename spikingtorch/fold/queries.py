"""Queries: Python code that reads properties of tensors while a network is traced; operations do not show this."""

import operator
import sys
from traceback import walk_stack
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from spikingtorch.fold.number import Number
from spikingtorch.fold.trace import BATCH_NORM, LIBRARIES, Objection, Trace, storage_of
from spikingtorch.layers.batch_norm import NormCall
from spikingtorch.layers.checkpoint import region
from spikingtorch.validation import functorch_active

_LEAVES_TORCH = "leaves torch, with {}, so that its computation cannot be checked", "compute with tensors alone"
_HOOKS = "changes its backward pass by hooks, with {}", "write a torch.autograd.Function, which can be checked"
_READS = "reads {} of a tensor", "compute it outside of the network"
# what an objection says of a name, and the change that would let the network fold
_REFUSED = {
    **dict.fromkeys(("numpy", "tolist", "__array__", "__dlpack__", "data_ptr", "untyped_storage"), _LEAVES_TORCH),
    **dict.fromkeys(("_version", "apply_", "map_"), _LEAVES_TORCH),
    **dict.fromkeys(("register_hook", "register_post_accumulate_grad_hook", "retain_grad"), _HOOKS),
    **dict.fromkeys(("grad", "grad_fn", "_base", "get_rng_state"), _READS),
}
_LIES = {"is_contiguous", "storage_offset", "stride"}
_INDEXED: tuple[Any, ...] = (Tensor.__getitem__, Tensor.__setitem__)
_SIZES = {"shape", "size", "__len__", "numel", "nelement", "nbytes", "element_size", "is_same_size"}


def _asker(*passed_on: str) -> str:
    """Return the file of the code that reads a tensor's property, past torch's own methods."""
    skipped = (__file__, Tensor.__len__.__code__.co_filename, torch.overrides.__file__, *passed_on)
    files = (frame.f_code.co_filename for frame, _ in walk_stack(sys._getframe()))
    return next((file for file in files if file not in skipped), "")


class NetworkQueries(TorchFunctionMode):
    """A mode that sees queries of Python code to tensors, and folds batch norm in training in its own way."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self.trace = trace

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.trace.is_quiet:
            return func(*args, **kwargs)
        try:
            self._check(func, args, kwargs)
        except Objection as objection:
            self.trace.refusal = self.trace.refusal or objection
            raise
        if func is F.batch_norm and (norm := NormCall(*args, **kwargs)).training:
            return self._batch_norm(norm)
        if func is torch.tensor and type(args[0] if args else None) is Number:
            return args[0].as_tensor(**kwargs)
        if func is F.one_hot and (args[1] if len(args) > 1 else kwargs.get("num_classes", -1)) > 0:
            return _one_hot(*args, **kwargs)
        if func is torch.einsum and (operands := _operands(*args)) and not functorch_active():
            return self.trace.whole(torch.ops.aten.einsum.default, args[0], operands)
        return func(*args, **kwargs)

    def _check(self, func: Any, args: Any, kwargs: Any) -> None:
        name = getattr(func, "__name__", "")
        owner = getattr(getattr(func, "__self__", None), "__name__", "") if name in ("__get__", "__set__") else ""
        name = owner or name
        if name in _REFUSED:
            what, remedy = _REFUSED[name]
            raise Objection(what.format(name), remedy)
        if func.__name__ == "__set__" and name == "data":
            raise Objection("puts other numbers into a tensor, by .data", "use the new tensor in its place")
        if name in _LIES and not _asker().startswith(LIBRARIES):
            raise Objection(
                f"reads the memory layout of a tensor, with {name}",
                "leave that out: contiguous() may always be called, and reshape() makes a copy if it must",
            )
        if func in _INDEXED and _goes_beyond(*args[:2]):
            raise Objection(
                "takes entries up to a number that is beyond the end of an axis", "take all of them, with [:]"
            )
        if name == "cross" and (args[2] if len(args) > 2 else kwargs.get("dim")) is None:
            raise Objection("takes a cross product along the first axis of size 3", "say which, with dim=-1")
        if name in _SIZES and not _asker().startswith(LIBRARIES):
            self.trace.asks = True

    def _batch_norm(self, call: NormCall) -> Tensor:
        if region() is not None:
            raise Objection(
                "takes statistics of batch norm inside a checkpoint", "put the checkpoint around other modules"
            )
        mean, known = call.running_mean, self.trace.buffers.get(id(call.running_mean))
        if known is not None and not _asker(F.__file__).endswith("batchnorm.py"):
            raise Objection("calls F.batch_norm with the statistics of a module", "call the module")
        with self.trace.looks_away():
            out = self.trace.normalise(call.input, call.weight, call.bias)
            self.trace.statistics |= {storage_of(each) for each in (mean, call.running_var) if each is not None}
        which: Any = call.eps if mean is None else known or ""
        self.trace.add(BATCH_NORM, (call.input, call.weight, call.bias, which), out)
        return out


def _operands(equation: Any, *operands: Any) -> list[Tensor]:
    """Return the tensors of an einsum that names all its axes by letters; [] for others."""
    if not isinstance(equation, str) or "->" not in equation or "." in equation:
        return []
    return [*operands[0]] if len(operands) == 1 and isinstance(operands[0], list | tuple) else [*operands]


def _goes_beyond(x: Tensor, index: Any) -> bool:
    """Return True if a bound of a slice is beyond the axis: torch then takes all of it, which no operation shows."""
    parts = [part for part in (index if isinstance(index, tuple | list) else (index,)) if part is not None]
    sizes = iter(x.shape)
    for place, part in enumerate(parts):
        if part is Ellipsis:  # indices after it are counted from the end
            sizes = iter(x.shape[len(x.shape) - sum(map(_axes, parts[place + 1 :])) :])
            continue
        taken = [next(sizes, 0) for _ in range(_axes(part))]
        bounds = (part.start, part.stop) if isinstance(part, slice) else ()
        numbers = [operator.index(bound) for bound in bounds if hasattr(bound, "__index__")]
        if any(not -taken[0] <= number <= taken[0] for number in numbers if number < sys.maxsize):
            return True
    return False


def _axes(part: Any) -> int:
    """Return how many axes an item of an index takes."""
    if isinstance(part, Tensor) and part.dtype in (torch.bool, torch.uint8):
        return part.ndim
    return 0 if isinstance(part, bool) else 1


def _one_hot(tensor: Tensor, num_classes: int) -> Tensor:
    """Compute one_hot without its check, which reads the values."""
    return (tensor.unsqueeze(-1) == torch.arange(num_classes, device=tensor.device)).long()
