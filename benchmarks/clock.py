"""Times calls in this process, in turns."""

import time
from collections.abc import Callable, Sequence

from benchmarks.case import Timing


def seconds(call: Callable[[], object]) -> float:
    """Return how long one call takes, including the release of what it returns."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(calls: Sequence[Callable[[], object]], repetitions: int, budget: float) -> list[Timing]:
    """Time the calls in turns, so that a slow spell of the machine meets all of them alike.

    Args:
        calls: what to time; each is called once before, to warm up.
        repetitions: number of timed calls each.
        budget: seconds that the calls of one may take together; one whose first run exceeds it is not repeated.
    """
    first = [seconds(call) for call in calls]
    samples: list[list[float]] = [[] for _ in calls]
    over = [spent > budget for spent in first]
    for _ in range(repetitions):
        for k, call in enumerate(calls):
            over[k] = over[k] or first[k] + sum(samples[k]) > budget
            if not over[k]:
                samples[k].append(seconds(call))
    # the first call stands in where the budget left no other
    return [Timing(tuple(s) or (f,), f, o) for s, f, o in zip(samples, first, over, strict=True)]
