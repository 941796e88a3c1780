"""Which backend runs a scan, and why."""

import functools
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import FunctionType
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch._C._functorch import (
    CGradInterpreterPtr,
    TransformType,
    get_interpreter_stack,
    get_unwrapped,
    is_functorch_wrapped_tensor,
)
from torch.autograd import forward_ad
from torch.utils import _pytree as pytree

from spikingtorch.functional.fused import autograd, kernels
from spikingtorch.functional.fused.builder import Refusal
from spikingtorch.functional.fused.plan import Arguments, Plan, plan, specs
from spikingtorch.functional.fused.trace import Spec
from spikingtorch.functional.state import lift

Backend: TypeAlias = Literal["auto", "loop", "fused"]
BACKENDS = ("auto", "loop", "fused")
_HALF = (torch.float16, torch.bfloat16)
_PLAIN = (Tensor, torch.nn.Parameter)


class Unsuited(Refusal):
    """The loop is the way to run this scan, whatever the step is; nobody has to be warned."""


class Explanation(NamedTuple):
    """What runs a scan, and why.

    Attributes:
        backend: "fused" or "loop".
        exactness: "reference" for the loop; "E" where spikes and states have the bits of the loop; "T" where a function
            such as exp is on their way, each within 2 units in the last place.
        reason: a sentence.
    """

    backend: str
    exactness: str
    reason: str

    def __str__(self) -> str:
        return f"{self.backend} (class {self.exactness}): {self.reason}"


class Call(NamedTuple):
    """A scan to run: its arguments, lifted and checked.

    Attributes:
        step: the step, without what is bound to it.
        state: state before the first step.
        xs: inputs.
        params: every keyword argument of the step, defaults included.
        dim: axis of time in the inputs and outputs.
        dtype: what outputs are rounded to.
    """

    step: Callable[..., Any]
    state: Any
    xs: Any
    params: Mapping[str, Any]
    dim: int
    dtype: torch.dtype

    @property
    def tensors(self) -> list[Tensor]:
        """Every tensor of the call."""
        leaves = pytree.tree_leaves((self.state, self.xs, self.params))
        return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def call(
    step: Callable[..., Any], state: Any, xs: Any, params: Mapping[str, Any], dim: int, dtype: torch.dtype
) -> Call:
    """Return a call with the step's defaults among its parameters: they are numbers like any other."""
    given = dict(params)
    while isinstance(step, functools.partial) and not step.args:
        given = {**step.keywords, **given}
        step = step.func
    if isinstance(step, FunctionType):
        names = step.__code__.co_varnames[2 : step.__code__.co_argcount]
        defaults = (step.__defaults__ or ())[-len(names) :] if names else ()
        positional = dict(zip(names[len(names) - len(defaults) :], defaults, strict=True))
        given = {**positional, **(step.__kwdefaults__ or {}), **given}
    return Call(step, state, xs, lift(given), dim, dtype)


def check_backend(backend: str) -> None:
    """Raise where there is no such backend."""
    if backend not in BACKENDS:
        raise ValueError(f"scan: backend={backend!r} is not one of {', '.join(map(repr, BACKENDS))}")


def choose(call: Call, backend: Backend) -> Plan | Refusal:
    """Return the plan that runs a scan fused, or why the loop runs it.

    Raises:
        ValueError: ``backend="fused"`` was asked for and cannot be.
    """
    if backend == "loop":
        return Unsuited("the loop was asked for")
    try:
        return fused_plan(call)
    except Refusal as refusal:
        if backend == "fused":
            raise ValueError(
                f"scan: backend='fused' cannot run {name(call.step)}, which {refusal}. backend='auto' takes the loop"
            ) from refusal
        return refusal


def explain(plan: Plan | Refusal) -> Explanation:
    """Return what ``choose`` chose, for people."""
    if isinstance(plan, Refusal):
        return Explanation("loop", "reference", f"{plan}")
    if not plan.inexact:
        return Explanation("fused", "E", "elementwise, and every operation rounds in one way only")
    return Explanation("fused", "T", f"elementwise, with {', '.join(plan.inexact)} on the way to states or outputs")


def warn(step: Callable[..., Any], refusal: Refusal) -> None:
    """Say once that a step has run on the loop, if that is for the user to know."""
    if not isinstance(refusal, Unsuited):
        _warn_once(f"scan: {name(step)} ran on the slower loop, for it {refusal}")


def fused_plan(call: Call) -> Plan:
    """Return the plan of a scan.

    Raises:
        Refusal: it cannot be fused, and why.
    """
    _check_circumstances(call.tensors)
    shape = _neurons(call)
    wrong = [tuple(leaf.shape) for leaf in pytree.tree_leaves(call.state) if tuple(leaf.shape) != shape]
    if wrong:
        raise Unsuited(f"the state has shape {wrong[0]} and the neurons {shape}")
    half = call.dtype if call.dtype in _HALF else None
    one = pytree.tree_map(lambda x: Spec.of(x.dtype, _without_time(call, x)), call.xs)
    found = plan(call.step, Arguments(specs(call.state), one, specs(dict(call.params)), half))
    kernels.ready(found.program)
    return found


def _check_circumstances(tensors: list[Tensor]) -> None:
    """Raise where only the loop is right, whatever the step."""
    for tensor in tensors:
        if tensor.device.type != "cpu":
            raise Unsuited(f"there is no fused backend for {tensor.device} yet")
        if not (type(tensor) in _PLAIN or type(tensor).__module__.startswith("torch._subclasses")):
            raise Unsuited(f"a tensor is a {type(tensor).__name__}")
        if tensor.layout is not torch.strided or tensor.is_complex() or tensor.is_quantized:
            raise Unsuited(f"a tensor is {tensor.layout} of {tensor.dtype}")
    if forward_ad._current_level >= 0:
        raise Unsuited("forward-mode differentiation takes the loop")
    levels = get_interpreter_stack() or ()
    kinds = [level.key() for level in levels]
    if any(kind not in (TransformType.Vmap, TransformType.Grad) for kind in kinds):
        raise Unsuited("forward-mode differentiation takes the loop")
    if kinds.count(TransformType.Grad) > 1:
        raise Unsuited("nested differentiation takes the loop")
    if TransformType.Grad in kinds:
        outermost = levels[kinds.index(TransformType.Grad)]
        watched = CGradInterpreterPtr(outermost).prevGradMode()
        if watched and any(_plain(tensor).requires_grad for tensor in tensors):
            raise Refusal(
                "inside torch.func.grad a tensor also requires a gradient outside of it, which would be a second "
                "derivative. Detach the tensors that the transform is given"
            )


def _plain(tensor: Tensor) -> Tensor:
    """Return the tensor that the wrappers of ``torch.func`` are around."""
    while is_functorch_wrapped_tensor(tensor):
        tensor = get_unwrapped(tensor)
    return tensor


def _neurons(call: Call) -> tuple[int, ...]:
    """Return the shape of the neurons of one step."""
    params = [leaf for leaf in pytree.tree_leaves(call.params) if isinstance(leaf, Tensor)]
    shapes = [leaf.shape for leaf in (*pytree.tree_leaves(call.state), *params)]
    streams = [_without_time(call, x) for x in pytree.tree_leaves(call.xs)]
    try:
        return tuple(torch.broadcast_shapes(*shapes, *streams))
    except RuntimeError:
        raise Unsuited(f"shapes {[tuple(shape) for shape in (*shapes, *streams)]} do not broadcast") from None


def _without_time(call: Call, x: Tensor) -> tuple[int, ...]:
    shape = list(x.shape)
    del shape[call.dim]
    return tuple(shape)


def run(found: Plan, call: Call) -> tuple[Any, Any]:
    """Run a plan on the tensors of a call."""
    states, state_form = pytree.tree_flatten(call.state)
    params = pytree.tree_leaves(call.params)
    tensors = [leaf for leaf in params if isinstance(leaf, Tensor)]
    floats = [float(leaf) for leaf in params if isinstance(leaf, float) and found.lifts_floats]
    rank = len(_neurons(call))
    dim = call.dim if call.dim >= 0 else rank + 1 + call.dim
    streams = [aligned(x, call.dim % x.ndim, dim, rank) for x in pytree.tree_leaves(call.xs)]
    counts = (len(states), len(streams), len(tensors), found.outputs)
    scalars, leaves = (*floats, *found.literals), (*states, *streams, *tensors)
    results = autograd.fused_scan(
        found.program, dim, found.keeps, found.differentiable, scalars, counts, leaves
    )
    finals, outs = results[: len(states)], results[len(states) : len(states) + found.outputs]
    return pytree.tree_unflatten(finals, state_form), pytree.tree_unflatten(outs, found.form)


def aligned(x: Tensor, own: int, dim: int, rank: int) -> Tensor:
    """Return an input with all axes of the neurons, and time where the others have it."""
    if x.ndim == rank + 1 and own == dim:
        return x
    first = x.movedim(own, 0)
    return first[(slice(None), *(None,) * (rank + 1 - x.ndim))].movedim(0, dim)


@lru_cache(maxsize=256)
def _warn_once(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=4)


def name(step: Callable[..., Any]) -> str:
    """Name a step."""
    return str(getattr(step, "__name__", type(step).__name__))
