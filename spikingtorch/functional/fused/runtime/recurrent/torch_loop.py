"""Run the steps of a recurrence from Python: any synapse by torch, and the neuron by its kernel.

Views of all steps are created once, beforehand, because a view takes as long as the product of a small layer.
"""

from torch import Tensor

from spikingtorch.functional.core import allocation
from spikingtorch.functional.fused.runtime.recurrent import steps
from spikingtorch.functional.fused.runtime.recurrent.steps import (
    Cotangents,
    Neuron,
    Place,
    RecurrentArgs,
    Saved,
    Slopes,
)
from spikingtorch.functional.fused.runtime.recurrent.synapses import LinearMap


def forward(neuron: Neuron, rule: LinearMap, given: RecurrentArgs) -> tuple[list[Tensor], list[Tensor], Saved]:
    """Return the states after the last step, the records, and the trace."""
    x, T = given.xs[0], len(given.xs[0])
    outs, currents, records = allocation.like(x), allocation.like(x), steps.empty_records(neuron, T, given.s)
    states = steps.fresh(given.states, T)
    for place, state in zip(states, given.states, strict=True):
        place.array[0] = state
    kernel = steps.forward_kernel(neuron, given, states, Place(currents), [*map(Place, (outs, *records))])
    step = kernel.launcher.launch.stepper([*map(_address, kernel.places)], neuron.scalars)
    (first,) = rule.slices(given.s[None], given.weight)
    add, (before, xs, driven) = (
        rule.added(given.weight, False),
        (rule.slices(each, given.weight) for each in (outs, x, currents)),
    )
    for t in range(T):
        add(xs[t], before[t - 1] if t else first, driven[t])
        step(t)
    over_time = [place.array for place in states]
    return [each[T].clone() for each in over_time], records, Saved(outs, currents, over_time)


def backward(
    rule: LinearMap, neuron: Neuron, given: RecurrentArgs, trace: Saved, cotangents: Cotangents, wanted: RecurrentArgs
) -> Slopes:
    """Return the gradients at all steps."""
    T = len(given.xs[0])
    found = steps.slopes(neuron, given, cotangents, wanted, [*map(Place, trace.states)], T)
    kernel = steps.backward_kernel(neuron, given, Place(trace.currents), found, cotangents.records)
    step = kernel.launcher.launch.stepper([*map(_address, kernel.places)], neuron.scalars)
    add, of_spikes, of_outs = rule.added(given.weight, True), found.of_spikes.array, cotangents.outs
    after, targets = (rule.slices(each, given.weight) for each in (found.of_currents, of_spikes))
    bases = [None] * T if of_outs is None else rule.slices(of_outs, given.weight)
    step(T - 1)
    for t in range(T - 2, -1, -1):
        add(bases[t], after[t + 1], targets[t % len(targets)])
        step(t)
    if found.of_s is not None:
        add(None, after[0], *rule.slices(found.of_s[None], given.weight))
    return found


def _address(place: Place) -> tuple[int, int]:
    """Return the address of an array at step 0, and the distance between two steps."""
    stride = place.array.stride(0) * place.array.element_size() if place.moves else 0
    return place.array.data_ptr() + place.first * stride, stride
