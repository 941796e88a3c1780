"""The schedule of a program: how often each of its values changes, and which values are kept over time.

It is the same for every language that a program is printed in.
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum

from spikingtorch.functional.fused.ir import EXACT, Node, Program, operands

# the largest number of cheap values to cache, because each takes a part of the first cache; and the number of
# operations that each must save
_MORE, _WORTH = 2, 3


class Rate(IntEnum):
    """How often a value changes: never, with the row of neurons, with the neuron, or with the step."""

    ONCE = 0
    ROW = 1
    NEURON = 2
    STEP = 3


class Schedule:
    """Decide when to compute the values of a program for the ``wanted`` nodes.

    Attributes:
        arrays: values of a neuron that a step reads, or that are wanted themselves: they are kept over time.
        cached: values that a later pass over the same steps reuses from an earlier pass.
    """

    def __init__(self, program: Program, wanted: Iterable[int]) -> None:
        wanted = tuple(wanted)
        self._program = program
        self._live = program.live(wanted)
        self._rate: dict[int, Rate] = {}
        self.cached: list[int] = []
        for index in self._live:
            node = program.nodes[index]
            own = self._rate_of_input(node) if node.op == "input" else Rate.ONCE
            self._rate[index] = max([own, *(self._rate[arg] for arg in operands(node))])
        read = {arg for index in self.at(Rate.STEP) for arg in operands(program.nodes[index])}
        kept = (read | {*wanted}) & {*self._live}
        self.arrays = {index for index in kept if self._rate[index] == Rate.NEURON}

    def is_uniform(self, index: int) -> bool:
        """Return True if a value is the same for all neurons of a row."""
        return self._rate[index] <= Rate.ROW

    def cache_values(self, early: Iterable[int], late: Iterable[int]) -> None:
        """Choose the values of the early pass that the late pass reuses.

        These are the values that are expensive to recompute. Then a few values are added one by one, each time the one
        that saves the most operations.
        """
        late = tuple(late)
        shared = {*self._program.live(early)} & {*self._program.live(late)}
        nodes = self._program.nodes
        computed = [k for k in sorted(shared) if self._rate[k] == Rate.STEP and nodes[k].op != "input"]
        self.cached = [k for k in computed if nodes[k].op not in EXACT]
        for _ in range(_MORE):
            again = {k: len(self.of_step(late, [*self.cached, k])) for k in computed if nodes[k].dtype != "bool"}
            best = min(again, key=again.__getitem__, default=None)
            if best is None or len(self.of_step(late, self.cached)) - again[best] < _WORTH:
                break
            self.cached = sorted([*self.cached, best])

    def at(self, rate: Rate) -> list[int]:
        """Return the values of a rate of change, in order."""
        return [index for index in self._live if self._rate[index] == rate]

    def of_step(self, wanted: Iterable[int], cached: Sequence[int] = ()) -> list[int]:
        """Return the values that change with the step and that the wanted values need, except the known ones."""
        live = self._program.live(wanted, cached)
        return [index for index in live if self._rate[index] == Rate.STEP and index not in cached]

    def _rate_of_input(self, node: Node) -> Rate:
        role, index = node.args
        if role != "param":
            return Rate.STEP
        return Rate.ROW if self._program.params[int(index)][1] else Rate.NEURON
