"""A recurrent neuron over time: the neuron by its kernel, one step at a time, and one matrix product between two steps.

    currents[t] = x[t] + synapse(s[t-1])          s[t], state[t] = step(state[t-1], currents[t])

Backward, the gradient of currents[t] goes through the transposed synapse to s[t-1]. That of the weights is one product
over all steps at the end, for the currents are linear in them, and so is that of the neuron's parameters: with the
gradients of all states and outputs at hand, the steps are as independent as samples.

All arrays are contiguous here, with time in front and the neurons of a step as one axis.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.fused import operators
from spikingtorch.functional.fused.operators import reduced
from spikingtorch.functional.fused.records import Ready
from spikingtorch.functional.fused.synapses import SYNAPSES, LinearMap


class Neuron(NamedTuple):
    """The neuron of a recurrence.

    Attributes:
        program: of one step, as text.
        scalars: floats of the program.
        differentiable: for each state, input and parameter, whether the program has a gradient of it.
    """

    program: str
    scalars: tuple[float, ...]
    differentiable: tuple[bool, ...]


class Groups(NamedTuple):
    """The tensors of a recurrence, or something for each of them.

    Attributes:
        states: of the neuron before the first step, (*N,).
        s: output before the first step, (*N,).
        xs: inputs, (T, *N).
        weight: of the synapse.
        params: parameters of the neuron, broadcastable to (*N,).
    """

    states: Sequence[Any]
    s: Any
    xs: Sequence[Any]
    weight: Any
    params: Sequence[Any]


class Trace(NamedTuple):
    """What a forward pass leaves behind.

    Attributes:
        outs: s[0] ... s[T-1], (T, *N).
        currents: what drove the neuron, (T, *N).
        states: of the neuron before each step and after the last, (T + 1, *N).
    """

    outs: Tensor
    currents: Tensor
    states: Sequence[Tensor]


def forward(neuron: Neuron, synapse: str, given: Groups) -> Trace:
    """Run the steps."""
    rule, T = SYNAPSES[synapse], len(given.xs[0])
    shape = given.s.shape
    x, *others = given.xs
    outs, currents = torch.empty_like(x), torch.empty_like(x)
    states = [torch.empty((T + 1, *shape), dtype=state.dtype) for state in given.states]
    for over_time, state in zip(states, given.states, strict=True):
        over_time[0] = state
    params = _flat(given.params, shape)
    ready = _kernel(
        "forward", [_row(s[0]) for s in states], [_line(i) for i in (currents, *others)], params, neuron, False
    )
    arrays = [*map(_moving, (*states, currents, *others)), *map(_fixed, params)]
    step = ready.stepper([*arrays, *(_moving(each, 1) for each in states), _moving(outs)], neuron.scalars)
    drive = rule.forward(x, given.s, outs, given.weight, currents)
    for t in range(T):
        drive(t)
        step(t)
    return Trace(outs, currents, states)


def backward(
    neuron: Neuron,
    synapse: str,
    given: Groups,
    trace: Trace,
    of_finals: Sequence[Tensor | None],
    of_s: Tensor | None,
    of_outs: Tensor | None,
    wanted: Groups,
) -> Groups:
    """Return the gradients; None where one is not wanted.

    Args:
        neuron: the neuron.
        synapse: name of the synapse.
        given: the tensors of the forward pass.
        trace: what it left behind.
        of_finals: cotangents of the states after the last step.
        of_s: cotangent of the output of the last step, as part of the state.
        of_outs: cotangent of the outputs, (T, *N).
        wanted: for each tensor, whether its gradient is.
    """
    rule, T = SYNAPSES[synapse], len(given.xs[0])
    shape, count = given.s.shape, len(given.states)
    flows, (drives, *_) = neuron.differentiable[:count], neuron.differentiable[count:]
    x, *others = given.xs
    of_currents = torch.empty_like(x) if drives else torch.zeros_like(x)
    of_others = [torch.empty_like(other) if want else None for other, want in zip(others, wanted.xs[1:], strict=True)]
    of_states = [torch.empty_like(s) if flow else None for s, flow in zip(trace.states, flows, strict=True)]
    for over_time, cotangent in zip(of_states, of_finals, strict=True):
        if over_time is not None:
            over_time[T] = 0.0 if cotangent is None else cotangent
    # kept for all steps where the parameters will need it
    slices = T if any(wanted.params) else 1
    of_spikes = given.s.new_empty((slices, *shape))

    params = _flat(given.params, shape)
    rows, lines = [_row(s[0]) for s in trace.states], [_line(i) for i in (trace.currents, *others)]
    cotangents = [None if g is None else _row(g[0]) for g in of_states], _line(of_spikes)
    wants = (*flows, drives, *wanted.xs[1:], *[False] * len(params))
    ready = _kernel("backward", rows, lines, params, [], [*cotangents[0], cotangents[1]], neuron, wants)
    arrays = [*map(_moving, (*trace.states, trace.currents, *others)), *map(_fixed, params)]
    there = [g for g in of_states if g is not None]
    arrays += [*(_moving(g, 1) for g in there), _moving(of_spikes) if slices == T else _fixed(of_spikes)]
    arrays += map(_moving, [*there, *([of_currents] if drives else []), *(g for g in of_others if g is not None)])
    step = ready.stepper(arrays, neuron.scalars)

    of_spikes[-1] = 0.0
    for cotangent in (of_s, None if of_outs is None else of_outs[T - 1]):
        if cotangent is not None:
            of_spikes[-1] += cotangent
    pull = rule.transposed(of_outs, of_currents, given.weight, of_spikes)
    step(T - 1)
    for t in range(T - 2, -1, -1):
        pull(t)
        step(t)

    of_first = torch.empty_like(given.s) if wanted.s else None
    if of_first is not None:
        rule.transposed(None, of_currents, given.weight, of_first[None])(-1)
    of_weight = _of_weight(rule, of_currents, given, trace) if wanted.weight else None
    of_params = _of_params(neuron, given, trace, params, of_states, of_spikes, wanted) if any(wanted.params) else []
    found = iter(of_params)
    return Groups(
        [None if g is None or not want else g[0].clone() for g, want in zip(of_states, wanted.states, strict=True)],
        of_first,
        [of_currents if wanted.xs[0] else None, *of_others],
        of_weight,
        [next(found) if want else None for want in wanted.params],
    )


def _of_weight(rule: LinearMap, of_currents: Tensor, given: Groups, trace: Trace) -> Tensor:
    """Return the gradient of the weights: one product for all steps but the first, which the initial output drives."""
    first = rule.of_weight(of_currents[:1], given.s[None], given.weight)
    return first if len(of_currents) == 1 else first + rule.of_weight(of_currents[1:], trace.outs[:-1], given.weight)


def _of_params(
    neuron: Neuron,
    given: Groups,
    trace: Trace,
    params: Sequence[Tensor],
    of_states: Sequence[Tensor | None],
    of_spikes: Tensor,
    wanted: Groups,
) -> list[Tensor]:
    """Return the gradients of the wanted parameters, all steps taken as samples of one step."""
    T, size = len(trace.outs), given.s.numel()
    found = operators.backward(
        [s[:T].view(T, size) for s in trace.states],
        [i.view(1, T, size) for i in (trace.currents, *given.xs[1:])],
        params,
        [],
        [*(None if g is None else g[1:].view(T, size) for g in of_states), of_spikes.view(1, T, size)],
        neuron.scalars,
        neuron.program,
        0,
        [*[False] * (len(trace.states) + len(given.xs)), *wanted.params],
    )
    leaves = [param for param, want in zip(given.params, wanted.params, strict=True) if want]
    shape = given.s.shape
    return reduced(
        [g.view(leaf.shape if leaf.numel() == 1 else shape) for g, leaf in zip(found, leaves, strict=True)], leaves
    )


def _kernel(name: str, *arguments: Any) -> Ready:
    """Return the kernel of one step for tensors that lie in memory like these."""
    neuron, rest = arguments[-2:]
    given = (*arguments[:-2], neuron.scalars, neuron.program, 0, rest)
    run, key_of = _PASSES[name]
    key = key_of(*given)
    if operators.ready(key) is None:
        run(*given)  # for nothing but the kernel: the first time only
    ready = operators.ready(key)
    assert ready is not None, "contiguous tensors are never copied"
    return ready


_PASSES: dict[str, tuple[Callable[..., Any], Callable[..., Hashable]]] = {
    "forward": (operators.forward, operators.forward_key),
    "backward": (operators.backward, operators.backward_key),
}


def _flat(params: Sequence[Tensor], shape: torch.Size) -> list[Tensor]:
    """Return the parameters with one value a neuron, all neurons as one axis, but for those that are one number."""
    return [param if param.numel() == 1 else param.expand(shape).reshape(-1) for param in params]


def _row(tensor: Tensor) -> Tensor:
    return tensor.view(-1)


def _line(stream: Tensor) -> Tensor:
    """Return the first step of a stream."""
    return stream[:1].view(1, -1)


def _moving(stream: Tensor, first: int = 0) -> tuple[int, int]:
    """Return where the slices of an array over time lie, from one on, and how far from each other."""
    stride = stream.stride(0) * stream.element_size()
    return stream.data_ptr() + first * stride, stride


def _fixed(tensor: Tensor) -> tuple[int, int]:
    return tensor.data_ptr(), 0
