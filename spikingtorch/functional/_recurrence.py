"""A scan of a recurrent step, on the fused backend: its neuron, and the synapse between its steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack
from torch.utils import _pytree as pytree

from spikingtorch.functional import _call
from spikingtorch.functional._call import Call
from spikingtorch.functional.fused import kernels
from spikingtorch.functional.fused.builder import Refusal
from spikingtorch.functional.fused.plan import Plan, plan
from spikingtorch.functional.fused.program import NAMES, from_text
from spikingtorch.functional.fused.recurrence_autograd import FusedRecurrence
from spikingtorch.functional.recurrent import Recurrent, RecurrentState, convolution, dense
from spikingtorch.functional.state import lift

# those that take a matrix product; the others are elementwise
_PRODUCTS: dict[Callable[..., Any], str] = {dense: "dense", convolution: "convolution"}


class Unready(Refusal):
    """A recurrent step that the fused backend does not run here, and nobody has to be warned."""


class Recurrence(NamedTuple):
    """How a recurrent step runs.

    Attributes:
        plan: of its neuron.
        synapse: name of the synapse.
        neuron: the scan of the neuron, its inputs those from outside.
        s: output before the first step.
        weight: of the synapse.
    """

    plan: Plan
    synapse: str
    neuron: Call
    s: Tensor
    weight: Tensor


def is_product(step: Any) -> bool:
    """Say whether a step is recurrent, with a product between its steps that the fused backend knows."""
    return isinstance(step, Recurrent) and step.synapse in _PRODUCTS


def recurrence(call: Call) -> Recurrence:
    """Return how a scan of a recurrent step runs.

    Raises:
        Refusal: it cannot be fused, and why.
    """
    if peek_interpreter_stack() is not None:
        raise Unready("is inside a transform of torch.func, where a recurrent step takes the loop")
    step: Any = call.step
    state, xs, params = map(pytree.tree_unflatten, (call.states, call.xs, call.params), call.forms)
    weight = params.pop("recurrent_weight", None)
    if not isinstance(state, RecurrentState) or not isinstance(state.s, Tensor) or not isinstance(weight, Tensor):
        raise Refusal("has no RecurrentState, or no recurrent_weight")
    synapse = _PRODUCTS[step.synapse]
    lifted = lift(xs)
    neuron = _call.call(step.step, state.neuron, lifted, params, call.dim, state.s.dtype)
    shape = state.s.shape
    try:
        fits = neuron.neurons() == shape and all(each.shape == shape for each in neuron.states)
    except ValueError:
        fits = False
    if not fits or not _FITS[synapse](shape, weight):
        raise Refusal("has a state, parameters or weights whose shapes do not fit")
    if shape.numel() == 0:
        raise Unready("has no neurons")
    found = plan(neuron.step, neuron.arguments())
    if found.outputs != 1 or not found.form.is_leaf() or from_text(found.program).outs[0] != NAMES[state.s.dtype]:
        raise Refusal("gives out more than one tensor, or one of another dtype than its state")
    kernels.ready(found.program)
    return Recurrence(found, synapse, neuron, state.s, weight)


def run(found: Recurrence, call: Call) -> tuple[Any, Any]:
    """Run a recurrent step on the tensors of a call."""
    neuron, plan_ = found.neuron, found.plan
    shape = found.s.shape
    xs = [_time_in_front(x, call.dim, shape) for x in neuron.xs]
    params = neuron.tensor_params
    scalars = (*(neuron.floats if plan_.lifts_floats else ()), *plan_.literals)
    counts = len(neuron.states), len(xs), len(params)
    tensors = [*neuron.states, found.s, *xs, found.weight, *params]
    if torch.compiler.is_compiling() or (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)):
        results = FusedRecurrence.apply(  # type: ignore[no-untyped-call]
            plan_.program, scalars, plan_.differentiable, found.synapse, counts, *tensors
        )
    else:
        results = torch.ops.spikingtorch.recurrence_forward(
            neuron.states, found.s, xs, found.weight, params, scalars, plan_.program, found.synapse, plan_.differentiable, False
        )
    finals, s, outs = results[: counts[0]], results[counts[0]], results[counts[0] + 1]
    dim = call.dim if call.dim >= 0 else len(shape) + 1 + call.dim
    outs = outs if dim == 0 else outs.movedim(0, dim).contiguous()
    state = RecurrentState(pytree.tree_unflatten(finals, neuron.forms[0]), s)
    return state, outs if call.half is None else outs.to(call.half)


def _time_in_front(x: Tensor, dim: int, shape: torch.Size) -> Tensor:
    """Return an input as (T, *shape), contiguous."""
    first = x.movedim(dim, 0)
    return first[(slice(None), *(None,) * (len(shape) + 1 - first.ndim))].expand(-1, *shape).contiguous()


def _dense_fits(shape: torch.Size, weight: Tensor) -> bool:
    return len(shape) > 0 and weight.shape == (shape[-1], shape[-1])


def _convolution_fits(shape: torch.Size, weight: Tensor) -> bool:
    axes = weight.ndim - 2
    if not 1 <= axes <= 3 or len(shape) not in (axes + 1, axes + 2):
        return False
    channels, inner, *sizes = weight.shape
    return channels == shape[-axes - 1] and inner > 0 and channels % inner == 0 and all(size % 2 for size in sizes)


_FITS = {"dense": _dense_fits, "convolution": _convolution_fits}
