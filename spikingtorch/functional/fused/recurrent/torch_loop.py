"""Run the steps of a recurrence from Python: any synapse by torch, and the neuron by its kernel."""

from collections.abc import Sequence

from torch import Tensor

from spikingtorch.functional.core import memory
from spikingtorch.functional.fused.recurrent import steps
from spikingtorch.functional.fused.recurrent.steps import Cotangents, Neuron, RecurrentArgs, RecurrentGrads, Saved
from spikingtorch.functional.fused.recurrent.synapses import LinearMap


def forward(neuron: Neuron, rule: LinearMap, given: RecurrentArgs) -> tuple[list[Tensor], list[Tensor], Saved]:
    """Return the states after the last step, the records, and the trace."""
    T, shape = len(given.xs[0]), given.s.shape
    x, *others = given.xs
    outs, currents, records = memory.like(x), memory.like(x), steps.empty_records(neuron, T, given.s)
    states = [memory.empty((T + 1, *shape), state.dtype, state.device) for state in given.states]
    for over_time, state in zip(states, given.states, strict=True):
        over_time[0] = state
    params = steps.flat(given.params, shape)
    arrays = [*map(_moving, (*states, currents, *others)), *map(_fixed, params)]
    arrays += [*(_moving(each, 1) for each in states), *map(_moving, (outs, *records))]
    step = steps.forward_step(neuron, states, [currents, *others], params).launch.stepper(arrays, neuron.scalars)
    drive = rule.forward(x, given.s, outs, given.weight, currents)
    for t in range(T):
        drive(t)
        step(t)
    return [over_time[T].clone() for over_time in states], records, Saved(outs, currents, states)


def backward(
    neuron: Neuron, rule: LinearMap, given: RecurrentArgs, trace: Saved, cotangents: Cotangents, wanted: RecurrentArgs
) -> RecurrentGrads:
    """Return the gradients at all steps."""
    T, shape = len(given.xs[0]), given.s.shape
    others, drives = given.xs[1:], neuron.differentiable[len(given.states)]
    of_currents, of_others, of_spikes, of_s = steps.gradient_arrays(neuron, given, cotangents, wanted)
    of_states = _gradients_of(neuron, trace.states, cotangents, T)
    params = steps.flat(given.params, shape)
    arrays = [*map(_moving, (*trace.states, trace.currents, *others)), *map(_fixed, params)]
    there = [g for g in of_states if g is not None]
    arrays += [*(_moving(g, 1) for g in there), _moving(of_spikes) if len(of_spikes) == T else _fixed(of_spikes)]
    arrays += [_moving(g) for g in cotangents.records if g is not None]
    arrays += map(_moving, [*there, *([of_currents] if drives else []), *(g for g in of_others if g is not None)])
    streams = [trace.currents, *others]
    of_outs = [of_spikes, *cotangents.records]
    ready = steps.backward_step(neuron, trace.states, streams, params, of_states, of_outs, of_others)
    step = ready.launch.stepper(arrays, neuron.scalars)
    pull = rule.transposed(cotangents.outs, of_currents, given.weight, of_spikes)
    step(T - 1)
    for t in range(T - 2, -1, -1):
        pull(t)
        step(t)
    if of_s is not None:
        rule.transposed(None, of_currents, given.weight, of_s[None])(-1)
    of_first = [None if g is None else g[0] for g in of_states]
    return RecurrentGrads(of_currents, of_others, of_first, of_s, trace.states, of_states, of_spikes)


def _gradients_of(neuron: Neuron, states: Sequence[Tensor], cotangents: Cotangents, last: int) -> list[Tensor | None]:
    """Return arrays for the gradients of states; the gradients after the last step are filled in."""
    flows = neuron.differentiable[: len(states)]
    found = [memory.like(s) if flow else None for s, flow in zip(states, flows, strict=True)]
    for over_time, cotangent in zip(found, cotangents.finals, strict=True):
        if over_time is not None:
            over_time[last] = 0.0 if cotangent is None else cotangent
    return found


def _moving(stream: Tensor, first: int = 0) -> tuple[int, int]:
    """Return the address of a slice of an array over time, and the distance between slices."""
    stride = stream.stride(0) * stream.element_size()
    return stream.data_ptr() + first * stride, stride


def _fixed(tensor: Tensor) -> tuple[int, int]:
    return tensor.data_ptr(), 0
