"""The bars that the library sets itself, and whether it clears them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.allocator import DEFAULT, KEPT
from benchmarks.table import Table

# forward and backward, times faster than the fastest of the other libraries, and than JAX
FASTER_THAN_PEERS = {KEPT: 6.0, DEFAULT: 3.5}
FASTER_THAN_JAX = {KEPT: 4.0, DEFAULT: 2.2}
COMPARED_AT = (512, 2048)

# share of the bandwidth that an addition reaches
BANDWIDTH = {DEFAULT: 0.45, KEPT: 0.50}
BANDWIDTH_FROM = 2048

# times the cost of LIF at equal streams
SMOOTH_FUNCTIONS = 1.3
HARD_FUNCTIONS = 4.0

# seconds, beyond the import of torch's tracer; and how much longer with a hundred times the steps
FIRST_CALL_COLD = 0.4
FIRST_CALL_WARM = 0.05
FIRST_CALL_GROWTH = 1.25

# times the cost of one call of eight times the batch
SWEEP = 1.2

# share of the peak memory of the leanest peer
MEMORY = 0.5

# training on digits, images a second: a small batch over the older package and over SpikingJelly, a large one over the
# fastest peer; and the time of the default mode over that of the fold
DIGITS_OVER_OLDER = 2.5
DIGITS_OVER_SPIKINGJELLY = 1.6
DIGITS_OVER_PEERS = 1.0
DEFAULT_MODE = 1.1

# a linear layer with its gradient, times faster than the fastest peer, by its size: the products are the same for all
LINEAR = {512: 2.4, 2048: 1.0}

# a recurrent layer with its gradients, times faster than the fastest peer's, and than JAX
RECURRENT_OVER_PEERS = 2.0
RECURRENT_OVER_JAX = 1.0
RECURRENT_AT = (128, 512)

# a deep network, over SpikingJelly: images a second, and share of the peak memory
DEEP_SPEED = 1.3
DEEP_MEMORY = 0.7


@dataclass(frozen=True)
class Bar:
    """A limit and the value reached.

    Args:
        name: what is measured.
        value: what came out, NaN if it could not be measured.
        limit: the bar.
        at_least: the value shall be at least the limit, instead of at most.
        unit: of both.
    """

    name: str
    value: float
    limit: float
    at_least: bool = False
    unit: str = "x"

    @property
    def verdict(self) -> str:
        """Return "pass", "FAIL" or "not measured"."""
        if math.isnan(self.value):
            return "not measured"
        passed = self.value >= self.limit if self.at_least else self.value <= self.limit
        return "pass" if passed else "FAIL"

    @property
    def condition(self) -> str:
        """Return what the value must fulfil."""
        return f"{'≥' if self.at_least else '≤'} {self.show(self.limit)}"

    def show(self, number: float) -> str:
        """Return a number with the bar's unit."""
        return f"{number:.0%}" if self.unit == "%" else f"{number:.3g} {self.unit}".replace(" x", "x")


def summary(bars: Sequence[Bar]) -> Table:
    """Return all bars as a table."""
    rows = [[bar.name, bar.show(bar.value), bar.condition, bar.verdict] for bar in bars]
    failed = sum(bar.verdict == "FAIL" for bar in bars)
    passed = sum(bar.verdict == "pass" for bar in bars)
    return Table("Bars", ["bar", "reached", "limit", "verdict"], rows, f"{passed} passed, {failed} failed.")
