"""The recurrence as raw operators of torch, and their gradient."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from spikingtorch.functional.core import memory
from spikingtorch.functional.core.precision import without_autocast
from spikingtorch.functional.core.tree import Gradients, Tensors
from spikingtorch.functional.fused.ir import DTYPES, depends_over_time, from_text
from spikingtorch.functional.fused.recurrent import passes
from spikingtorch.functional.fused.recurrent.checks import check_backward, check_forward
from spikingtorch.functional.fused.recurrent.steps import Cotangents, Neuron, RecurrentArgs, Saved, with_synapse
from spikingtorch.functional.fused.runtime import checks
from spikingtorch.functional.fused.runtime.autograd import input_gradients
from spikingtorch.functional.fused.runtime.scan_spec import Counts, ScanSpec
from spikingtorch.functional.fused.runtime.second_derivative import (
    FirstDerivative,
    Reference,
    first_derivative,
    is_differentiated,
    known_signature,
)
from spikingtorch.functional.fused.runtime.torch_ops import fake_gradients, library, register, written_out

_GIVEN = "Tensor[] states, Tensor s, Tensor[] xs, Tensor weight, Tensor[] params"
library.define(
    f"recurrence_forward({_GIVEN}, float[] scalars, str program, str synapse, bool[] differentiable, bool keep)"
    " -> Tensor[]"
)
library.define(
    f"recurrence_backward({_GIVEN}, Tensor[] trace, Tensor?[] cotangents, float[] scalars, str program, str synapse,"
    " bool[] differentiable, bool[] wanted) -> Tensor[]"
)
_GROUPS = len(RecurrentArgs._fields)
OPTIONS = 4  # number of arguments of the Function before its tensors


def _forward(*arguments: Any) -> list[Tensor]:
    """Return final states, the last output, all outputs, records and, with ``keep``, the trace for the gradient."""
    given, (scalars, program, synapse, differentiable, keep) = RecurrentArgs(*arguments[:_GROUPS]), arguments[_GROUPS:]
    neuron = Neuron(program, tuple(scalars), tuple(differentiable))
    check_forward(neuron, synapse, given)
    with without_autocast(given.s.device):
        finals, records, trace = passes.forward(neuron, synapse, _contiguous(given), keep)
    outs, currents, kept = trace
    # a copy, because results of an operator share no memory
    return [*finals, outs[-1].clone(), outs, *records, *((currents, *kept) if keep else ())]


def _backward(*arguments: Any) -> list[Tensor]:
    """Return the wanted gradients of states, s, xs, weight and params."""
    given, (trace, cotangents, *options) = RecurrentArgs(*arguments[:_GROUPS]), arguments[_GROUPS:]
    scalars, program, synapse, differentiable, wanted = options
    neuron, states = Neuron(program, tuple(scalars), tuple(differentiable)), len(given.states)
    check_backward(neuron, synapse, given, trace, cotangents, wanted)
    wants = _grouped(wanted, states, len(given.xs))
    outs, currents, *over_time = map(memory.contiguous, trace)
    coming = [None if c is None else memory.contiguous(written_out(c)) for c in cotangents]
    of_finals, (of_s, of_outs, *of_records) = coming[:states], coming[states:]
    kept, incoming = Saved(outs, currents, over_time), Cotangents(of_finals, of_s, of_outs, of_records)
    with without_autocast(given.s.device):
        found = passes.backward(neuron, synapse, _contiguous(given), kept, incoming, wants)
    return [grad for grad in found.flattened() if grad is not None]


def _fake_forward(*arguments: Any) -> list[Tensor]:
    given, (_, program, synapse, _, keep) = RecurrentArgs(*arguments[:_GROUPS]), arguments[_GROUPS:]
    checks.check_devices(given.flattened())
    states, x = given.states, given.xs[0]
    finals = [state.new_empty(state.shape) for state in (*states, given.s)]
    over_time = [state.new_empty((passes.kept_steps(synapse, x.shape[0]), *state.shape)) for state in states]
    outs = [x.new_empty(x.shape, dtype=DTYPES[dtype]) for dtype in from_text(program).outs]
    return [*finals, *outs, *((x.new_empty(x.shape), *over_time) if keep else ())]


register("recurrence_forward", _forward, _fake_forward)
register("recurrence_backward", _backward, fake_gradients)


@known_signature
class FusedRecurrence(Function):
    """``apply(spec, synapse, scalars, reference, *states, s, *xs, weight, *params)``, with the spec of the neuron.

    Returns ``(*finals, final_s, outs, *records, *trace)``.
    """

    @staticmethod
    def forward(
        spec: ScanSpec, synapse: str, scalars: tuple[float, ...], reference: Reference | None, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        """Return final states, the last output, all outputs, records and the trace for the backward pass."""
        given, options = _grouped(tensors, *spec.counts[:2]), (scalars, spec.program, synapse, spec.differentiable)
        return tuple(torch.ops.spikingtorch.recurrence_forward(*given, *options, True))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Save the tensors, the outputs that feed back and the trace, which has no gradient."""
        ctx.neuron, ctx.synapse, ctx.scalars, ctx.reference, *tensors = inputs
        ctx.spec = _of_recurrence(ctx.neuron)
        states, _, _, outs = ctx.spec.counts
        trace = output[states + outs :]
        checks.save(ctx, (*tensors, output[states], *trace))
        constant = ctx.spec.without_gradient(ctx.needs_input_grad[OPTIONS:])
        ctx.mark_non_differentiable(*trace, *[output[k] for k in constant])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
        """Return None for each option, then the gradients of the tensors, None where one is not wanted."""
        return input_gradients(ctx, cotangents, _found, OPTIONS)


def _found(ctx: Any, saved: Tensors, given: Gradients, coming: Tensors, wanted: tuple[bool, ...]) -> Tensors:
    """Return the wanted gradients."""
    checks.check_saved(saved, ctx.saved_forms)
    neuron: ScanSpec = ctx.neuron
    if ctx.reference is not None and is_differentiated(saved, wanted):
        found: Tensors = ctx.reference(saved[: len(wanted)], given, 0, wanted, neuron.program, ctx.scalars)
        return found
    options = ctx.scalars, neuron.program, ctx.synapse, neuron.differentiable
    return first_derivative(FusedRecurrenceGradient, neuron.counts, wanted, options, *saved, *given)


@known_signature
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


def _grouped(items: Sequence[Any], states: int, xs: int) -> RecurrentArgs:
    first, last = states + 1, states + 1 + xs
    return RecurrentArgs(
        list(items[:states]), items[states], list(items[first:last]), items[last], list(items[last + 1 :])
    )


def _of_recurrence(neuron: ScanSpec) -> ScanSpec:
    """Return a recurrence as a scan: its output is one more state, its weights are one more parameter.

    Args:
        neuron: the scan of its neuron, with the dependences of one step.
    """
    (states, xs, params, outs), rows = neuron.counts, neuron.depends
    rows = (*rows[:states], rows[states], *rows[states:])  # the output feeds back, as one more state
    depends = depends_over_time([with_synapse(row, states, xs, row[states]) for row in rows], states + 1)
    has = with_synapse(neuron.differentiable, states, xs, True)
    return neuron._replace(counts=(states + 1, xs, params + 1, outs), differentiable=has, depends=depends)


def _contiguous(given: RecurrentArgs) -> RecurrentArgs:
    """Return the tensors as the loops read them; the loops lay out weights and parameters themselves."""
    states, xs = (list(map(memory.contiguous, group)) for group in (given.states, given.xs))
    return given._replace(states=states, s=memory.contiguous(given.s), xs=xs)
