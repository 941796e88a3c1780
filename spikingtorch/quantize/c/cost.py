"""The worst cost of a step: operations, and a bound of the instructions that a 32-bit processor takes for them."""

from typing import Any, NamedTuple

import numpy as np

from spikingtorch.quantize.c.sums import Source, Sums, reached
from spikingtorch.quantize.neurons import Neuron
from spikingtorch.quantize.nodes import Diagonal, Linear, SumPool2d

# instructions of gcc -O1, -O2 and -Os for Cortex-M0, Cortex-M4 and RV32, measured and rounded up; tests hold them
_PER_SUM, _PER_EVENT, _PER_ADDITION, _PER_PLACE, _PER_PAIR = 8, 30, 10, 28, 26
_PER_NEURON, _PER_ROUNDING, _PER_SPIKE = 40, 20, 10
# of a 64-bit operation beside one of 32 bits, without a multiplier for it
_WIDE = 6


class Cost(NamedTuple):
    """Worst cost of a step: synaptic additions, neuron updates, and instructions."""

    additions: int = 0
    updates: int = 0
    instructions: int = 0

    def __add__(self, other: Any) -> "Cost":
        """Return the sum of two costs."""
        return Cost(*[a + b for a, b in zip(self, other, strict=True)])


def sums_cost(node: Sums, source: Source) -> Cost:
    """Return the cost of sums to which each place of the input contributes once."""
    events = source.size
    if isinstance(node, Diagonal):
        return Cost(events, 0, _PER_SUM * events + (_PER_EVENT + _PER_ADDITION) * events)
    if isinstance(node, Linear):
        outs = len(node.weight)
        additions = events * outs
        return Cost(additions, 0, _PER_SUM * outs + _PER_EVENT * events + _PER_ADDITION * additions)
    channels, *_ = node.input_shape
    rows, columns = (len(reached(node, axis)[1]) for axis in (0, 1))
    deep = 1 if isinstance(node, SumPool2d) else len(node.weight) // node.groups
    pairs = channels * rows * columns
    walks = channels * rows * node.input_shape[2]
    instructions = _PER_SUM * int(np.prod(node.output_shape)) + _PER_EVENT * events
    return Cost(pairs * deep, 0, instructions + _PER_PLACE * walks + (_PER_PAIR + _PER_ADDITION * deep) * pairs)


def sum_of_branches_cost(branches: int, size: int) -> Cost:
    """Return the cost of a sum of branches."""
    return Cost(branches * size, 0, _PER_SUM * size + branches * (_PER_EVENT + (_PER_SUM + _PER_ADDITION) * size))


def neuron_cost(node: Neuron, wide: bool = False) -> Cost:
    """Return the cost of the update of all neurons, each of which fires as often as it can."""
    size = int(np.prod(node.shape))
    roundings = 1 + sum(each is not None for each in (node.decay, node.decay_synapse))
    each = _PER_NEURON + _PER_ROUNDING * roundings + _PER_SPIKE * node.most_spikes
    return Cost(0, size, size * each * (_WIDE if wide else 1))
