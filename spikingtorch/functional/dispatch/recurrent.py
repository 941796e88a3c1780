"""Run a recurrent step on the fused backend: its neuron, and the synapse between its steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core.precision import lift
from spikingtorch.functional.core.torch_private import peek_interpreter_stack, pytree
from spikingtorch.functional.dispatch.call import ScanCall
from spikingtorch.functional.dispatch.reference import reference_of
from spikingtorch.functional.fused.errors import NotFusible, UseLoop
from spikingtorch.functional.fused.ir import NAMES, from_text
from spikingtorch.functional.fused.recurrent.autograd import FusedRecurrence
from spikingtorch.functional.fused.recurrent.c_loop import runs_in_c
from spikingtorch.functional.fused.recurrent.synapses import IN_C
from spikingtorch.functional.fused.runtime.scan_spec import ScanSpec
from spikingtorch.functional.fused.runtime.second_derivative import Reference
from spikingtorch.functional.fused.runtime.targets import target_on
from spikingtorch.functional.fused.trace.programs import TracedStep, trace_step
from spikingtorch.functional.recorded import records_inside
from spikingtorch.functional.recurrent import Recurrent, RecurrentState, convolution, dense, misfit

# those that take a matrix product; the others are elementwise
_PRODUCTS: dict[Callable[..., Any], str] = {dense: "dense", convolution: "convolution"}


class Recurrence(NamedTuple):
    """The parts of a recurrent scan."""

    plan: TracedStep  # how the step of the neuron runs
    neuron: ScanCall  # the scan of the neuron, with the inputs from outside
    synapse: str  # name of the synapse
    s: Tensor  # output before the first step
    weight: Tensor  # of the synapse


def is_product(step: Any) -> bool:
    """Return True if a step is recurrent and the fused backend knows the product between its steps."""
    step = records_inside(step)
    return isinstance(step, Recurrent) and step.synapse in _PRODUCTS


def taken_apart(call: ScanCall, plan_of: Callable[[ScanCall], TracedStep]) -> Recurrence:
    """Return the parts of a recurrent scan.

    Args:
        call: the scan.
        plan_of: returns how the step of the neuron runs.

    Raises:
        NotFusible: the fused backend cannot run it, and why.
    """
    step: Any = records_inside(call.step)
    leaves = call.states, call.xs, call.params
    state, xs, params = (pytree.tree_unflatten(part, form) for part, form in zip(leaves, call.forms, strict=True))
    weight = params.get("recurrent_weight")
    if not isinstance(state, RecurrentState) or not isinstance(state.s, Tensor) or not isinstance(weight, Tensor):
        raise NotFusible("has no RecurrentState, or no recurrent_weight")
    rest = {name: value for name, value in params.items() if name != "recurrent_weight"}
    synapse, shape = _PRODUCTS[step.synapse], state.s.shape
    neuron = ScanCall.of(step.step, state.neuron, lift(xs), rest, call.dim, state.s.dtype)
    try:
        fits = neuron.neurons() == tuple(shape) and all([each.shape == shape for each in neuron.states])
    except ValueError:
        fits = False
    if not fits or weight.dtype != state.s.dtype or misfit(step.synapse, shape, weight.shape):
        raise NotFusible("has a state, parameters or weights that do not fit")
    if neuron.xs[0].dtype != state.s.dtype:
        raise NotFusible("has a first input of another dtype than its spikes")
    if shape.numel() == 0:
        raise UseLoop("has no neurons")
    plan = plan_of(neuron)
    if not _begins_with_a_tensor(plan.form):
        raise NotFusible("gives out neither a tensor nor a tuple that begins with one")
    return Recurrence(plan, neuron, synapse, state.s, weight)


def _begins_with_a_tensor(form: pytree.TreeSpec) -> bool:
    if form.is_leaf():
        return True
    kind = form.type
    is_tuple = isinstance(kind, type) and issubclass(kind, tuple) and form.num_children > 0
    return is_tuple and _begins_with_a_tensor(form.children()[0])


def recurrence(call: ScanCall) -> Recurrence:
    """Return how a recurrent scan runs.

    Raises:
        NotFusible: it cannot be fused, and why.
    """
    if peek_interpreter_stack() is not None:
        raise UseLoop("is inside a transform of torch.func, where a recurrent step takes the loop")
    found = taken_apart(call, lambda neuron: trace_step(neuron.step, neuron.arguments()))
    if from_text(found.plan.program).outs[0] != NAMES[found.s.dtype]:
        raise NotFusible("gives out another dtype than its state has")
    target_on(found.s.device).ensure_compiled(found.plan.program)
    return found


def run(found: Recurrence, call: ScanCall) -> tuple[Any, Any]:
    """Run a recurrent step on the tensors of a call."""
    plan, neuron, synapse, s, weight = found
    shape = s.shape
    xs = [_time_in_front(x, call.dim, shape) for x in neuron.xs]
    if synapse == "dense" and runs_in_c(s, xs[0]):
        synapse = IN_C
    params = neuron.tensor_params
    scalars = (*(neuron.floats if plan.floats_are_inputs else ()), *plan.literals)
    counts = len(neuron.states), len(xs), len(params), plan.outputs
    tensors = [*neuron.states, s, *xs, weight, *params]
    saves = torch.is_grad_enabled() and any([tensor.requires_grad for tensor in tensors])
    if saves:
        spec = ScanSpec(plan.program, 0, True, plan.differentiable, counts, depends=plan.depends)
        results = FusedRecurrence.apply(spec, synapse, scalars, _reference(found, call), *tensors)  # type: ignore[no-untyped-call]
    else:
        results = torch.ops.spikingtorch.recurrence_forward(
            neuron.states, s, xs, weight, params, scalars, plan.program, synapse, plan.differentiable, False
        )
    first = counts[0] + 1
    finals, last, (s_over_time, *records) = results[: counts[0]], results[counts[0]], results[first : first + counts[3]]
    dim = call.dim if call.dim >= 0 else len(shape) + 1 + call.dim
    state = RecurrentState(pytree.tree_unflatten(finals, neuron.forms[0]), last)
    # the outputs that feed back are saved for the gradient as well
    outs = [_given_out(s_over_time, dim, call.half, saves), *[_given_out(each, dim, call.half) for each in records]]
    return state, pytree.tree_unflatten(outs, plan.form)


def _given_out(over_time: Tensor, dim: int, half: torch.dtype | None, saved: bool = False) -> Tensor:
    """Return an output for the caller: rounded, contiguous, and in its own memory if it is also saved."""
    dtype = half if half is not None and over_time.dtype == torch.float32 else over_time.dtype
    moved = over_time.movedim(0, dim)
    if saved or moved.dtype != dtype:
        return moved.to(dtype, copy=True, memory_format=torch.contiguous_format)
    return moved.contiguous()


def _reference(found: Recurrence, call: ScanCall) -> Reference | None:
    """Return the scan by the loop, its parameters in the order of the autograd Function."""
    neuron = found.neuron
    params = {"recurrent_weight": found.weight, **pytree.tree_unflatten(neuron.params, neuron.forms[2])}
    leaves, form = pytree.tree_flatten(params)
    whole = call._replace(params=leaves, forms=(*call.forms[:2], form), half=None)
    return reference_of(whole, (neuron.step, neuron.arguments()))


def _time_in_front(x: Tensor, dim: int, shape: torch.Size) -> Tensor:
    """Return an input as (T, *shape), contiguous."""
    first = x.movedim(dim, 0)
    return first[(slice(None), *(None,) * (len(shape) + 1 - first.ndim))].expand(-1, *shape).contiguous()
