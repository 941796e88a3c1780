"""The recurrence as raw operators of torch, and their gradient."""

import inspect
from collections.abc import Sequence
from operator import and_
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd import Function

from spikingtorch.functional.core import memory
from spikingtorch.functional.core.precision import without_autocast
from spikingtorch.functional.fused.ir import DTYPES, depends_over_time, from_text
from spikingtorch.functional.fused.recurrent import passes
from spikingtorch.functional.fused.recurrent.checks import check_backward, check_forward
from spikingtorch.functional.fused.recurrent.steps import Cotangents, Neuron, RecurrentArgs, Saved
from spikingtorch.functional.fused.runtime import checks
from spikingtorch.functional.fused.runtime.scan_spec import Depends, reached, with_zeros, without_gradient
from spikingtorch.functional.fused.runtime.second_derivative import FirstDerivative, Reference, is_differentiated
from spikingtorch.functional.fused.runtime.torch_ops import library, register, written_out

# how many states, inputs, parameters and outputs there are
Counts: TypeAlias = tuple[int, int, int, int]

library.define(
    "recurrence_forward(Tensor[] states, Tensor s, Tensor[] xs, Tensor weight, Tensor[] params, float[] scalars,"
    " str program, str synapse, bool[] differentiable, bool keep) -> Tensor[]"
)
library.define(
    "recurrence_backward(Tensor[] states, Tensor s, Tensor[] xs, Tensor weight, Tensor[] params, Tensor[] trace,"
    " Tensor?[] cotangents, float[] scalars, str program, str synapse, bool[] differentiable, bool[] wanted)"
    " -> Tensor[]"
)


def _forward(
    states: Sequence[Tensor],
    s: Tensor,
    xs: Sequence[Tensor],
    weight: Tensor,
    params: Sequence[Tensor],
    scalars: Sequence[float],
    program: str,
    synapse: str,
    differentiable: Sequence[bool],
    keep: bool,
) -> list[Tensor]:
    """Return final states, the last output, all outputs, records and, with ``keep``, the trace for the gradient."""
    neuron, given = Neuron(program, tuple(scalars), tuple(differentiable)), RecurrentArgs(states, s, xs, weight, params)
    check_forward(neuron, synapse, given)
    with without_autocast(s.device):
        finals, records, trace = passes.forward(neuron, synapse, _contiguous(given), keep)
    outs, currents, kept = trace
    # a copy: what an operator returns shares no memory
    return [*finals, outs[-1].clone(), outs, *records, *((currents, *kept) if keep else ())]


def _backward(
    states: Sequence[Tensor],
    s: Tensor,
    xs: Sequence[Tensor],
    weight: Tensor,
    params: Sequence[Tensor],
    trace: Sequence[Tensor],
    cotangents: Sequence[Tensor | None],
    scalars: Sequence[float],
    program: str,
    synapse: str,
    differentiable: Sequence[bool],
    wanted: Sequence[bool],
) -> list[Tensor]:
    """Return the wanted gradients of states, s, xs, weight and params."""
    neuron, given = Neuron(program, tuple(scalars), tuple(differentiable)), RecurrentArgs(states, s, xs, weight, params)
    check_backward(neuron, synapse, given, trace, cotangents, wanted)
    wants = _grouped(wanted, len(states), len(xs))
    outs, currents, *over_time = map(memory.contiguous, trace)
    coming = [None if c is None else memory.contiguous(written_out(c)) for c in cotangents]
    of_finals, (of_s, of_outs, *of_records) = coming[: len(states)], coming[len(states) :]
    kept, incoming = Saved(outs, currents, over_time), Cotangents(of_finals, of_s, of_outs, of_records)
    with without_autocast(s.device):
        found = passes.backward(neuron, synapse, _contiguous(given), kept, incoming, wants)
    return [grad for grad in _flattened(found) if grad is not None]


def _fake_forward(
    states: Sequence[Tensor],
    s: Tensor,
    xs: Sequence[Tensor],
    weight: Tensor,
    params: Sequence[Tensor],
    scalars: Sequence[float],
    program: str,
    synapse: str,
    differentiable: Sequence[bool],
    keep: bool,
) -> list[Tensor]:
    checks.check_devices((*states, s, *xs, weight, *params))
    T = xs[0].shape[0]
    finals = [state.new_empty(state.shape) for state in (*states, s)]
    over_time = [state.new_empty((passes.kept_steps(synapse, T), *state.shape)) for state in states]
    outs = [xs[0].new_empty(xs[0].shape, dtype=DTYPES[dtype]) for dtype in from_text(program).outs]
    return [*finals, *outs, *((xs[0].new_empty(xs[0].shape), *over_time) if keep else ())]


def _fake_backward(
    states: Sequence[Tensor], s: Tensor, xs: Sequence[Tensor], weight: Tensor, params: Sequence[Tensor], *rest: Any
) -> list[Tensor]:
    leaves = (*states, s, *xs, weight, *params)
    checks.check_devices((*leaves, *rest[0], *rest[1]))
    return [leaf.new_empty(leaf.shape) for leaf, want in zip(leaves, rest[-1], strict=True) if want]


register("recurrence_forward", _forward, _fake_forward)
register("recurrence_backward", _backward, _fake_backward)


class FusedRecurrence(Function):
    """``apply(*options, *states, s, *xs, weight, *params)``, the options those of ``forward``.

    Returns ``(*finals, final_s, outs, *records, *trace)``.
    """

    @staticmethod
    def forward(
        program: str,
        scalars: tuple[float, ...],
        differentiable: tuple[bool, ...],
        depends: Depends,
        synapse: str,
        counts: Counts,
        reference: Reference | None,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return final states, the last output, all outputs, records and the trace for the backward pass."""
        given = _grouped(tensors, *counts[:2])
        return tuple(torch.ops.spikingtorch.recurrence_forward(*given, scalars, program, synapse, differentiable, True))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Save the tensors, the outputs that come back and the trace, which has no gradient."""
        ctx.program, ctx.scalars, ctx.differentiable, depends, ctx.synapse, ctx.counts, *rest = inputs
        ctx.reference, *tensors = rest
        first, last = ctx.counts[0] + 1, ctx.counts[0] + 1 + ctx.counts[3]
        ctx.depends = _of_recurrence(depends, ctx.counts)
        constant = without_gradient(ctx.depends, ctx.needs_input_grad[_OPTIONS:])
        trace = output[last:]
        checks.save(ctx, (*tensors, output[first], *trace))
        ctx.mark_non_differentiable(*trace, *[output[k] for k in constant])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
        """Return None for each option, then the gradients of the tensors, None where one is not wanted."""
        states, xs, _, outs = ctx.counts
        given = cotangents[: states + 1 + outs]
        has = ctx.differentiable
        # the output and the weights act through the first input
        has = *has[:states], True, *has[states : states + xs], True, *has[states + xs :]
        needed = ctx.needs_input_grad[_OPTIONS:]
        wanted = tuple(map(and_, needed, has))
        coming = [cotangent is not None for cotangent in given]
        if not any(coming):
            return (None,) * (_OPTIONS + len(wanted))
        saved = checks.saved(ctx)  # once: checkpoint unpacks them a single time
        found = iter(_found(ctx, saved, given, wanted) if any(wanted) else ())
        grads = [next(found) if want else None for want in wanted]
        return (*(None,) * _OPTIONS, *with_zeros(grads, needed, reached(ctx.depends, coming), saved))


def _found(
    ctx: Any, saved: Sequence[Tensor], given: Sequence[Tensor | None], wanted: tuple[bool, ...]
) -> Sequence[Tensor]:
    """Return the wanted gradients."""
    reference: Reference | None = ctx.reference
    if reference is not None and is_differentiated(saved, wanted):
        return reference.gradients(saved[: len(wanted)], given, 0, wanted, ctx.program, ctx.scalars)
    options = ctx.scalars, ctx.program, ctx.synapse, ctx.differentiable
    function: Any = FusedRecurrenceGradient
    gradient = function.forward if torch.compiler.is_dynamo_compiling() else function.apply
    found: tuple[Tensor, ...] = gradient(ctx.counts, wanted, options, *saved, *given)
    return found


class FusedRecurrenceGradient(FirstDerivative):
    """``apply(counts, wanted, options, *tensors, *trace, *cotangents)`` returns the wanted gradients."""

    @staticmethod
    def forward(counts: Counts, wanted: tuple[bool, ...], options: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the wanted gradients of states, s, xs, weight and params."""
        rest = tensors[len(wanted) :]
        traced = counts[0] + 2
        given, trace, cotangents = _grouped(tensors[: len(wanted)], *counts[:2]), rest[:traced], rest[traced:]
        found = torch.ops.spikingtorch.recurrence_backward(*given, trace, list(cotangents), *options, list(wanted))
        return tuple(found)


_OPTIONS = 7  # arguments of FusedRecurrence before its tensors

# as in ``autograd``: torch looks it up at every call
_function: Any
for _function in (FusedRecurrence.forward, FusedRecurrenceGradient.forward):
    _function.__signature__ = inspect.signature(_function)


def _grouped(items: Sequence[Any], states: int, xs: int) -> RecurrentArgs:
    first, last = states + 1, states + 1 + xs
    return RecurrentArgs(
        list(items[:states]), items[states], list(items[first:last]), items[last], list(items[last + 1 :])
    )


def _of_recurrence(depends: Depends, counts: Counts) -> Depends:
    """Return on which tensors final states, the last output and all outputs depend, from one step of the neuron."""
    states, xs = counts[:2]
    rows = [*depends[:states], depends[states], *depends[states:]]  # the output comes back, as one more state
    # it and the weights act through the first input
    whole = [(*row[:states], row[states], *row[states : states + xs], row[states], *row[states + xs :]) for row in rows]
    return depends_over_time(whole, states + 1)


def _contiguous(given: RecurrentArgs) -> RecurrentArgs:
    """Return the tensors as the loops read them; weights and parameters are theirs to lay out."""
    states, xs = (list(map(memory.contiguous, group)) for group in (given.states, given.xs))
    return given._replace(states=states, s=memory.contiguous(given.s), xs=xs)


def _flattened(groups: RecurrentArgs) -> list[Any]:
    return [*groups.states, groups.s, *groups.xs, groups.weight, *groups.params]
