"""What a layer of neurons does at each step."""

from dataclasses import dataclass

import numpy as np

from tests.quantize.descriptions import Whole


@dataclass(eq=False)
class Trace:
    """Spikes, membrane before and after the reset, and current, each (N, T, *shape); and how often one overflows."""

    spikes: Whole
    u: Whole
    v: Whole
    i: Whole
    overflows: int = 0

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> "Trace":
        spikes, u, v, i = (np.zeros(shape, np.int64) for _ in range(4))
        return cls(spikes, u, v, i)

    def write(self, t: int, spike: Whole, u: Whole, v: Whole, i: Whole, overflows: int = 0) -> None:
        self.spikes[:, t], self.u[:, t], self.v[:, t], self.i[:, t] = spike, u, v, i
        self.overflows += overflows
