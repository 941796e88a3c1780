"""Choose the backend of a scan. It depends on the step, and on the call."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, TypeAlias, TypeVar, get_args

import torch
from torch import Tensor

from spikingtorch.functional.core.sharing import plain
from spikingtorch.functional.core.torch_private import (
    CGradInterpreterPtr,
    TransformType,
    forward_level,
    get_interpreter_stack,
    is_fake,
    pytree,
    tracing_state,
)
from spikingtorch.functional.dispatch.call import ScanCall, multiplies, product_of
from spikingtorch.functional.dispatch.recurrent import trace_recurrence
from spikingtorch.functional.fused.errors import NotFusible, UseLoop
from spikingtorch.functional.fused.ir import neuron_of
from spikingtorch.functional.fused.runtime.targets import DEVICES, has_target, target_on
from spikingtorch.functional.fused.trace import tracer
from spikingtorch.functional.fused.trace.examples import Spec
from spikingtorch.functional.fused.trace.programs import TracedStep, trace_step
from spikingtorch.functional.fused.trace.snapshot import SideEffect, Snapshot, snapshot, whole_snapshot

T = TypeVar("T")
Backend: TypeAlias = Literal["auto", "loop", "fused", "compile", "parallel"]
BACKENDS = get_args(Backend)
# The number of neurons above which a layer that is called step by step takes a kernel. A kernel has to be traced and
# compiled first. The second number holds for a step with a matrix product, which runs outside of the kernel: above it
# the kernel is faster.
_LARGE, _LARGE_PRODUCT = 2**11, 2**17
_PLAIN_TENSORS = (Tensor, torch.nn.Parameter)


def check_backend(backend: str) -> None:
    """Raise ValueError if there is no such backend."""
    if backend not in BACKENDS:
        raise ValueError(f"scan: backend={backend!r} is not one of {', '.join(map(repr, BACKENDS))}")


def is_large(step: Callable[..., Any], x: Tensor) -> bool:
    """Return True if there are enough neurons to make a kernel for one step worthwhile."""
    return x.numel() >= (_LARGE_PRODUCT if product_of(step) else _LARGE) and not multiplies(step)


def side_effect(step: Callable[..., Any]) -> str | None:
    """Return a clause that names the side effect of the step, if one is found without running the step."""
    return without_effects(step, lambda: None)[1]


def without_effects(step: Callable[..., Any], work: Callable[[], T]) -> tuple[T | None, str | None]:
    """Return the result of ``work``, which runs a step for analysis, or a clause that names the step's side effect.

    Changes outside of the step are undone as far as they can be seen.
    """
    try:
        found: Snapshot | None = snapshot(step)
    except SideEffect as effect:
        return None, str(effect)
    except NotFusible:  # the step asks a question whose answer differs in a trace, and ``work`` is no trace
        found = None
    try:
        return (work() if found is None else found.undone(work)), None
    except SideEffect as effect:
        return None, str(effect)


def choose(call: ScanCall, backend: Backend) -> TracedStep | NotFusible:
    """Return the plan of a fused scan, or why the loop runs it."""
    if backend == "loop":
        return UseLoop("was to run on the loop")
    if multiplies(call.step):
        return UseLoop("multiplies by a matrix what it has kept of earlier steps")
    # in this order: reading the size of a batch would fix that size in an exported program
    product, single = product_of(call.step), backend == "auto" and call.xs[0].shape[call.dim] == 1
    if single and product and not is_large(call.step, call.xs[0]):
        return UseLoop("takes one step of few neurons with a product, for which the loop is faster")
    try:
        _check_circumstances(call.tensors)
        target = target_on(call.xs[0].device)
        if product:
            found = trace_recurrence(call, lambda neuron: trace_step(neuron.step, neuron.arguments()))
        else:
            _check_shapes(call)
            found = trace_step(call.step, call.arguments())
            if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in call.tensors):
                params = found.differentiable[len(call.states) + len(call.xs) :]
                wanted = zip(params, call.tensor_params, strict=True)
                target.begin_backward(found.program, tuple([has and param.requires_grad for has, param in wanted]))
        target.ensure_compiled(neuron_of(found.program))
    except NotFusible as refusal:
        return refusal
    return found


def _check_shapes(call: ScanCall) -> None:
    try:
        shape = call.neurons()
        wrong = [tuple(state.shape) for state in call.states if tuple(state.shape) != shape]
        complaint = f"has a state of shape {wrong[0]} for neurons of shape {shape}" if wrong else None
    except ValueError as error:
        complaint = str(error)
    if complaint is not None:
        # tensors of other shapes mostly come from a matrix product, which is the better reason to report
        first = [Spec(x.dtype, call.without_time(x)) for x in call.xs]
        state = pytree.tree_unflatten(call.states, call.forms[0])
        x, params = pytree.tree_unflatten(first, call.forms[1]), pytree.tree_unflatten(call.params, call.forms[2])
        raise not_pointwise(call.step, state, x, params) or NotFusible(complaint)


def not_pointwise(step: Callable[..., Any], state: Any, x: Any, params: Any) -> NotFusible | None:
    """Return an objection that names the first operation of a step that is not pointwise, for tensors or Specs."""
    around = whole_snapshot(step)
    return around.undone(partial(tracer.not_pointwise, step, state, x, params, around.tensors))


def _check_circumstances(tensors: list[Tensor]) -> None:
    """Raise if only the loop can run this call, whatever the step."""
    for tensor in tensors:
        if not has_target(tensor.device):
            raise UseLoop(f"has a tensor on {tensor.device}; the fused backend runs on {DEVICES}")
        if tensor.device != tensors[0].device:
            raise NotFusible(
                f"has tensors on {tensors[0].device} and on {tensor.device}; move them to one device with .to(...)"
            )
        if type(tensor) not in _PLAIN_TENSORS and not is_fake(tensor):
            raise UseLoop(f"has a tensor that is a {type(tensor).__name__}")
        if tensor.layout is not torch.strided or tensor.is_complex() or tensor.is_quantized:
            raise UseLoop(f"has a tensor that is not strided, or not of real numbers ({tensor.layout}, {tensor.dtype})")
    if tracing_state() is not None:
        raise UseLoop("is traced by torch.jit, which knows torch's own operations and no kernel")
    levels = get_interpreter_stack() or ()
    kinds = [level.key() for level in levels]
    if forward_level() >= 0 or any(kind not in (TransformType.Vmap, TransformType.Grad) for kind in kinds):
        raise UseLoop("is differentiated in forward mode, which takes the loop")
    if kinds.count(TransformType.Grad) > 1:
        raise UseLoop("is inside nested differentiation, which takes the loop")
    if TransformType.Grad in kinds:
        outer = CGradInterpreterPtr(levels[kinds.index(TransformType.Grad)]).prevGradMode()
        if outer and any(plain(tensor).requires_grad for tensor in tensors):
            raise NotFusible(
                "is inside torch.func.grad with a tensor that requires a gradient outside of it too, which would be a "
                "second derivative; detach these tensors, or call the transform under torch.no_grad()"
            )
