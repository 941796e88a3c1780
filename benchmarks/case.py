"""What is timed, and what came of it: the two values that travel between the main process and its workers."""

import statistics
from dataclasses import dataclass

BOTH = "forward + backward"
FORWARD = "forward"
TRAINING = "training"


@dataclass(frozen=True)
class Size:
    """Number of steps, batch, and neurons or inputs of a network: xs has shape (T, B, N)."""

    T: int
    B: int
    N: int

    @property
    def stream(self) -> int:
        """Bytes of one float32 tensor of shape (T, B, N)."""
        return 4 * self.T * self.B * self.N


@dataclass(frozen=True)
class Case:
    """One call that can be timed.

    Args:
        implementation: who computes, a name that ``workloads.build`` knows.
        size: shape of the inputs.
        mode: which of the implementation's calls: FORWARD without gradients, BOTH, or for a network TRAINING.
        model: which neuron, or which network.
    """

    implementation: str
    size: Size
    mode: str = BOTH
    model: str = "lif"


@dataclass(frozen=True)
class Timing:
    """Seconds that a call took.

    Args:
        samples: one entry a repetition; empty if not even one call ended in time.
        first: the first call, which warms caches and compiles, and counts only where it is all there is.
        over_budget: the time budget ended the repetitions early.
    """

    samples: tuple[float, ...] = ()
    first: float = float("nan")
    over_budget: bool = False

    @property
    def median(self) -> float:
        """Median of the samples, NaN without any."""
        return statistics.median(self.samples) if self.samples else float("nan")

    @property
    def best(self) -> float:
        """Fastest sample, NaN without any; far below the median, it tells of a noisy machine."""
        return min(self.samples, default=float("nan"))

    def pooled(self, other: "Timing") -> "Timing":
        """Return the samples of both, of the same call in different processes."""
        over_budget = self.over_budget or other.over_budget
        return Timing(self.samples + other.samples, max(self.first, other.first), over_budget)
