"""Run a recurrent neuron over time: its kernel one step at a time, and one matrix product between two steps.

    currents[t] = x[t] + synapse(s[t-1])          s[t], state[t] = step(state[t-1], currents[t])

A neuron may have more outputs than s, called records. They do not feed back, and the kernel writes them as well.

Backward, the gradient of currents[t] goes through the transposed synapse to s[t-1]. The gradient of the weights is one
product over all steps at the end, because the currents are linear in the weights. The gradient of the neuron's
parameters comes at the end as well: once the gradients of all states and outputs are known, the steps are as
independent as samples.

The loop over the steps is ``c_loop``, in C, or ``torch_loop``. All arrays are contiguous here, with time first and the
neurons of a step as one axis.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from spikingtorch.functional.fused.recurrent import c_loop, torch_loop
from spikingtorch.functional.fused.recurrent.steps import Cotangents, Neuron, RecurrentArgs, RecurrentGrads, Saved, flat
from spikingtorch.functional.fused.recurrent.synapses import IN_C, SYNAPSES, LinearMap
from spikingtorch.functional.fused.runtime import torch_ops
from spikingtorch.functional.fused.runtime.layout import sum_to


def forward(neuron: Neuron, synapse: str, given: RecurrentArgs, keep: bool) -> tuple[list[Tensor], list[Tensor], Saved]:
    """Return the states after the last step, the records, and the trace, which is complete only with ``keep``."""
    if synapse == IN_C:
        return c_loop.forward(neuron, given, keep)
    return torch_loop.forward(neuron, SYNAPSES[synapse], given)


def kept_steps(synapse: str, steps: Any) -> Any:
    """Return the number of steps whose states a trace holds."""
    return c_loop.kept_steps(steps) if synapse == IN_C else steps + 1


def backward(
    neuron: Neuron, synapse: str, given: RecurrentArgs, trace: Saved, cotangents: Cotangents, wanted: RecurrentArgs
) -> RecurrentArgs:
    """Return the gradients; None where one is not wanted.

    Args:
        neuron: the neuron.
        synapse: name of the synapse.
        given: the tensors of the forward pass.
        trace: the trace of the forward pass.
        cotangents: the incoming gradients.
        wanted: for each tensor, whether its gradient is wanted.
    """
    rule = SYNAPSES[synapse]
    if synapse == IN_C:
        swept = c_loop.backward(neuron, given, trace, cotangents, wanted)
    else:
        swept = torch_loop.backward(neuron, rule, given, trace, cotangents, wanted)
    of_weight = _of_weight(rule, swept.of_currents, given, trace) if wanted.weight else None
    found = iter(_of_params(neuron, given, trace, swept, cotangents, wanted) if any(wanted.params) else [])
    return RecurrentArgs(
        [None if g is None or not want else g.clone() for g, want in zip(swept.of_states, wanted.states, strict=True)],
        swept.of_s,
        [swept.of_currents if wanted.xs[0] else None, *swept.of_others],
        of_weight,
        [next(found) if want else None for want in wanted.params],
    )


def _of_weight(rule: LinearMap, of_currents: Tensor, given: RecurrentArgs, trace: Saved) -> Tensor:
    """Return the gradient of the weights: one product for all steps but the first, which the initial output drives."""
    first = rule.of_weight(of_currents[:1], given.s[None], given.weight)
    return first if len(of_currents) == 1 else first + rule.of_weight(of_currents[1:], trace.outs[:-1], given.weight)


def _of_params(
    neuron: Neuron,
    given: RecurrentArgs,
    trace: Saved,
    swept: RecurrentGrads,
    cotangents: Cotangents,
    wanted: RecurrentArgs,
) -> list[Tensor]:
    """Return the gradients of the wanted parameters, all steps taken as samples of one step."""
    T, size, shape = len(trace.outs), given.s.numel(), given.s.shape
    found = torch_ops.backward(
        [s[:T].view(T, size) for s in swept.states_over_time],
        [i.view(1, T, size) for i in (trace.currents, *given.xs[1:])],
        flat(given.params, shape),
        [],
        [
            *(None if g is None else g[1:].view(T, size) for g in swept.of_states_over_time),
            swept.of_spikes.view(1, T, size),
            *(None if g is None else g.view(1, T, size) for g in cotangents.records),
        ],
        neuron.scalars,
        neuron.program,
        0,
        [*[False] * (len(given.states) + len(given.xs)), *wanted.params],
    )
    leaves: Sequence[Tensor] = [param for param, want in zip(given.params, wanted.params, strict=True) if want]
    views = [g.view(leaf.shape if leaf.numel() == 1 else shape) for g, leaf in zip(found, leaves, strict=True)]
    return [sum_to(view, leaf.shape) for view, leaf in zip(views, leaves, strict=True)]
