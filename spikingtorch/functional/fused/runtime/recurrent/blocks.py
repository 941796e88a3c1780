"""Walk back through a recurrence by blocks of steps, where a parameter of the neuron wants its gradient.

Such a gradient needs the states, and the gradients of states and outputs, of every step: once they are known, the steps
are as independent as samples. With blocks, the memory for them is that of a block.
"""

from collections.abc import Callable

from torch import Tensor

from spikingtorch.functional.core import allocation
from spikingtorch.functional.core.tree import Gradients
from spikingtorch.functional.fused.runtime.recurrent import steps
from spikingtorch.functional.fused.runtime.recurrent.steps import Cotangents, Neuron, RecurrentArgs, Saved, Slopes

Walk = Callable[[Neuron, RecurrentArgs, Saved, Cotangents, RecurrentArgs], Slopes]

# neurons times steps of a block, half a megabyte in float32; and the fewest steps, which outweigh its start
_SIZE, _FEWEST = 2**17, 64


def walk_back(
    walk: Walk,
    every: int,
    neuron: Neuron,
    given: RecurrentArgs,
    trace: Saved,
    coming: Cotangents,
    wanted: RecurrentArgs,
) -> tuple[Slopes, Gradients]:
    """Return the gradients at all steps, and those of the parameters.

    ``walk`` goes back through one block, and the trace has the states before one step in ``every``.
    """
    T, size = len(trace.outs), given.s.numel()
    length = max(_FEWEST, _SIZE // size // every * every) if any(wanted.params) else T
    if length >= T:
        whole = walk(neuron, given, trace, coming, wanted)
        return whole, steps.of_params(neuron, given, trace.currents, whole, coming.records, wanted.params)
    found: Slopes | None = None
    grads: list[Tensor | None] = [None] * len(wanted.params)
    finals, of_s = coming.finals, coming.s
    over_time = [allocation.like(x) for x in given.xs]
    for start in reversed(range(0, T, length)):
        part, states = slice(start, start + length), slice(start // every, (start + length) // every + 1)
        here = given._replace(xs=[x[part] for x in given.xs])
        kept = Saved(trace.outs[part], trace.currents[part], [each[states] for each in trace.states])
        outs, *records = [None if each is None else each[part] for each in (coming.outs, *coming.records)]
        arriving = Cotangents(finals, of_s, outs, records)
        # what reaches the output before the block is a gradient that arrives at the end of the block before
        found = walk(neuron, here, kept, arriving, wanted._replace(s=wanted.s or start > 0))
        finals, of_s = [None if place is None else place.array[0] for place in found.of_states], found.of_s
        for every_step, each in zip(over_time, (found.of_currents, *found.of_others), strict=True):
            if each is not None:
                every_step[part] = each
        more = steps.of_params(neuron, here, kept.currents, found, records, wanted.params)
        grads = [new if old is None or new is None else old.add_(new) for old, new in zip(grads, more, strict=True)]
    assert found is not None, "a step or more"
    of_others = [None if each is None else x for each, x in zip(found.of_others, over_time[1:], strict=True)]
    return found._replace(of_currents=over_time[0], of_others=of_others), grads
