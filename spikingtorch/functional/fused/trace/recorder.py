"""Record the operations of torch as a program."""

import linecache
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from spikingtorch.functional.core import contract
from spikingtorch.functional.core.modes import HOST, DispatchMode
from spikingtorch.functional.core.torch_private import run_backward
from spikingtorch.functional.fused.errors import NotFusible
from spikingtorch.functional.fused.ir import NAMES
from spikingtorch.functional.fused.lower.builder import Builder, Operand, Value
from spikingtorch.functional.fused.lower.rules import COMPARISONS, RULES
from spikingtorch.functional.fused.trace.examples import Examples

_INSIDE = (str(Path(torch.__file__).parent), str(Path(__file__).parent.parent))
_CONTRACT = str(contract.__file__)
# arguments that set the layout of a result, and its dtype, which the result shows
_MEMORY = {"dtype", "layout", "device", "pin_memory", "memory_format", "non_blocking"}
_VIEWS = ("view", "_unsafe_view", "_reshape_alias", "unsqueeze", "squeeze", "expand")


class Recorder(DispatchMode):
    """Record every aten operation in a program."""

    def __init__(self, examples: Examples) -> None:
        super().__init__()
        self.examples = examples
        self.refusal: NotFusible | None = None
        self.builder = Builder(scalars=len(examples.floats))
        self._values: dict[int, Value] = {}
        self._alive: list[Tensor] = []  # so that no two tensors of a trace have the same id
        self.floats: set[int] = set()  # the user's numbers, and values computed only from them
        self.divisors: set[int] = set()  # float parameters that divide a float
        self._in_gradient = False
        for role, tensors in zip(("state", "x", "param"), examples.tensors, strict=True):
            for index, tensor in enumerate(tensors):
                self._bind(tensor, self.builder.input(role, index, dtype_name(tensor.dtype)))
        for slot, tensor in enumerate(examples.floats):
            self._bind(tensor, self.builder.scalar(slot))
            self.floats.add(id(tensor))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # before it runs, because a tensor that is not an example has another size, and torch would report the size
        self._try(self._check, func, args)
        out = func(*args, **kwargs)
        self._try(self._note, func, args, kwargs, out)
        return out

    def _try(self, method: Callable[..., None], *args: Any) -> None:
        if self.refusal is None:
            try:
                method(*args)
            except NotFusible as refusal:
                self.refusal = type(refusal)(f"{refusal}, {place(self._in_gradient)}")

    def _check(self, func: Any, args: Any) -> None:
        check_pointwise(func)
        if func._opname != "lift_fresh":
            for arg in args:
                self._operand(arg)

    def differentiate(self, outputs: Sequence[Tensor]) -> list[Value | None]:
        """Return the gradient of each state, input and parameter; the cotangents become inputs of the program."""
        self._in_gradient = True
        leaves = self.examples.leaves
        wanted = [leaf for leaf in leaves if leaf.requires_grad]
        given: list[tuple[Tensor, Tensor]] = []
        for index, out in enumerate(outputs):
            if out.requires_grad:
                cotangent = torch.ones(out.shape, dtype=out.dtype, device=HOST)
                self._bind(cotangent, self.builder.input("cotangent", index, dtype_name(out.dtype)))
                given.append((out, cotangent))
        if not given or not wanted:
            return [None] * len(leaves)
        # by the engine itself, so that modes for torch functions see the calls of a backward pass
        outs, cotangents = zip(*given, strict=True)
        found = run_backward(
            outs, cotangents, False, False, tuple(wanted), allow_unreachable=True, accumulate_grad=False
        )
        by_leaf = dict(zip(map(id, wanted), found, strict=True))
        if self.refusal is not None:
            raise self.refusal
        return [self._gradient(leaf, by_leaf.get(id(leaf))) for leaf in leaves]

    def has_made(self, tensor: Tensor) -> bool:
        """Return True if a tensor belongs to the trace, or shares memory with one that does."""
        return id(tensor) in self._values or tensor.data_ptr() in [each.data_ptr() for each in self._alive]

    def value(self, tensor: Tensor) -> Value:
        """Return the value of a tensor of the trace."""
        found = self._values.get(id(tensor))
        if found is None:
            raise NotFusible(
                f"reads a tensor of shape {tuple(tensor.shape)} that is neither state, input nor parameter. "
                "Pass it in params, where it gets its gradient and no value of it is baked in"
            )
        return found

    def _gradient(self, leaf: Tensor, gradient: Tensor | None) -> Value | None:
        if gradient is None:
            return None
        value = self.value(gradient)
        node = self.builder.nodes[value.node]
        zero = node.op == "const" and node.args == (0,)
        if tuple(leaf.shape) != self.examples.shape and value.node not in self.builder.pending_sums and not zero:
            raise NotFusible("has a gradient that is not a sum over neurons for a parameter that they share")
        if zero:
            return None
        # operations that take this gradient, such as a convolution, are many times slower for subnormal numbers on x86
        return self.builder.flushed(value) if any(leaf is x for x in self.examples.tensors[1]) else value

    def _bind(self, tensor: Tensor, value: Value) -> None:
        self._alive.append(tensor)
        self._values[id(tensor)] = value

    def _note(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        name = _overload(func)
        if name == "lift_fresh.default" and id(args[0]) not in self._values:
            self._note_constant(args[0], out)
            return
        if name == "view.dtype":
            raise NotFusible("takes the bits of its numbers for those of another dtype")
        if func._opname in _VIEWS:
            self._note_view(name, args[0], out)
            return
        if func._opname == "sum":
            self._note_sum(args[0], out)
            return
        tensors = [arg for arg in args if isinstance(arg, Tensor)]
        if func._schema.is_mutable:
            self._check_unshared(args[0])
            if id(args[0]) in self.floats:
                raise NotFusible("writes in place on a float")
            wider = [t for t in tensors[1:] if torch.result_type(args[0], t) != out.dtype]
            if wider and func._opname not in ("copy_", "fill_"):
                raise NotFusible(f"writes in place on {out.dtype} what it computes with {wider[0].dtype}")
        if func._opname.rstrip("_") in COMPARISONS:
            kwargs = {**kwargs, "common": dtype_name(torch.result_type(args[0], args[1]))}
        self._check_shape(out)
        self._check_sums(tensors, out)
        self._check_promotion(tensors, out)
        operands = [self._operand(arg) for arg in args]
        options = {key: self._operand(arg) for key, arg in kwargs.items() if key not in _MEMORY}
        self._bind(out, RULES[name](self.builder, dtype_name(out.dtype), *operands, **options))

    def _operand(self, arg: Any) -> Operand:
        return self.value(arg) if isinstance(arg, Tensor) else arg

    def _note_constant(self, constant: Tensor, out: Tensor) -> None:
        """Record a number that the step made a tensor of."""
        if constant.numel() != 1:
            raise NotFusible(f"makes a tensor of shape {tuple(constant.shape)} from numbers; pass it in params")
        self._bind(out, self.builder.cast(constant.item(), dtype_name(out.dtype)))

    def _note_view(self, name: str, source: Tensor, out: Tensor) -> None:
        if not _aligned(source.shape, out.shape):
            raise NotFusible(
                f"calls aten.{name}, which moves neurons, from {tuple(source.shape)} to {tuple(out.shape)}"
            )
        self._check_shape(out)
        self._check_sums([source], out)
        self._bind(out, self.value(source))
        if id(source) in self.floats:
            self.floats.add(id(out))

    def _note_sum(self, source: Tensor, out: Tensor) -> None:
        if not self._in_gradient:
            raise NotFusible("sums over neurons")
        if not _aligned(out.shape, source.shape):
            raise NotFusible(f"sums {tuple(source.shape)} to {tuple(out.shape)} in its gradient")
        self._bind(out, self.builder.summed(self.value(source)))

    def _check_shape(self, out: Tensor) -> None:
        if not _aligned(out.shape, self.examples.shape):
            raise NotFusible(f"makes a tensor of shape {tuple(out.shape)} from neurons of shape {self.examples.shape}")

    def _check_sums(self, tensors: Sequence[Tensor], out: Tensor) -> None:
        """Refuse to broadcast a sum over neurons to the neurons again."""
        sums = [tensor for tensor in tensors if self.value(tensor).node in self.builder.pending_sums]
        if any(tensor.numel() < out.numel() for tensor in sums):
            raise NotFusible("computes with a sum over neurons, for each of them")

    def _check_unshared(self, tensor: Tensor) -> None:
        if sum(other.data_ptr() == tensor.data_ptr() for other in {id(t): t for t in self._alive}.values()) > 1:
            raise NotFusible("writes in place on a tensor that shares its memory with another")

    def _check_promotion(self, tensors: list[Tensor], out: Tensor) -> None:
        """Refuse an operation if type promotion differs: a float stands in the trace as a tensor without axes."""
        floats = [tensor for tensor in tensors if id(tensor) in self.floats]
        others = [tensor for tensor in tensors if id(tensor) not in self.floats]
        if floats and not others:
            self.floats.add(id(out))
        elif floats and not any(tensor.ndim and tensor.is_floating_point() for tensor in others):
            raise NotFusible("mixes a float with tensors of no axes or of integers")


def check_pointwise(func: Any) -> None:
    """Raise if an operation does not belong to pointwise programs."""
    name = _overload(func)
    if name == "_local_scalar_dense.default":
        raise NotFusible("reads the value of a tensor, with .item(), float() or in a condition")
    known = name in RULES or func._opname in _VIEWS or func._opname == "sum"
    if func.namespace != "aten" or not known:
        raise NotFusible(f"calls {func}, which is not in the table of pointwise operations")


class Watch(DispatchMode):
    """Note the first operation that is not pointwise."""

    def __init__(self) -> None:
        super().__init__()
        self.refusal: NotFusible | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.refusal is None:
            try:
                check_pointwise(func)
            except NotFusible as refusal:
                self.refusal = NotFusible(f"{refusal}, {place(False)}")
        return func(*args, **(kwargs or {}))


def _overload(func: Any) -> str:
    """Return the name of an operation; an in-place operation has the name of its pure form."""
    base = func._opname.rstrip("_") if func._schema.is_mutable else func._opname
    return f"{base}.{func._overloadname}"


def place(in_gradient: bool) -> str:
    """Return a clause with the line of the step that called an operation."""
    if in_gradient:
        return "in its gradient"
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_INSIDE):
        frame = frame.f_back
    if frame is None or frame.f_code.co_filename == _CONTRACT:
        return "somewhere in torch"
    path, line = frame.f_code.co_filename, frame.f_lineno
    return f"at {path}:{line}: {linecache.getline(path, line).strip()}"


def _aligned(small: Sequence[int], large: Sequence[int]) -> bool:
    """Return True if a shape broadcasts to another; leading axes of length one are ignored."""
    shape = list(small)
    while len(shape) > len(large) and shape[0] == 1:
        shape.pop(0)
    rest = large[len(large) - len(shape) :]
    return len(shape) <= len(large) and all(a in (1, b) for a, b in zip(shape, rest, strict=True))


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name of a dtype in programs."""
    if dtype not in NAMES:
        raise NotFusible(f"computes in {dtype}")
    return NAMES[dtype]
