"""Times our own cases as the library comes, with all freed memory kept and with none, in turns; and their memory."""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from benchmarks import launch
from benchmarks.launch import Options
from benchmarks.report import number, table
from benchmarks.suite import DEFAULT, KEPT, RESIDENT, RETURNED, Case, Suite
from benchmarks.turns import in_rounds, own_cases, timed

SETTINGS = (DEFAULT, KEPT, RETURNED)
# how many times as long as with all of it kept, and how much memory at the peak over that with none kept
TIME_ALLOWED, MEMORY_ALLOWED = 1.15, 1.1
CALLS = 12  # of which the memory is measured


class Memory(NamedTuple):
    """Bytes in memory: see ``worker.run_resident``."""

    before: int
    peak: int
    after: int
    released: int
    faults: int


def compare(options: Options, rounds: int) -> int:
    """Print two tables for each suite that is measured with freed memory kept; return 1 if a limit is exceeded."""
    found: list[tuple[float, float]] = []
    for suite in timed(options):
        if KEPT in suite.settings:
            found += _compared(options.of(suite), suite, own_cases(suite, options), rounds)
    times, peaks = ([each[k] for each in found] for k in (0, 1))
    print(f"default over kept: median {median(times):.2f}, largest {max(times):.2f}, allowed {TIME_ALLOWED}")
    print(f"peak over that with nothing kept: median {median(peaks):.2f}, largest {max(peaks):.2f}, {MEMORY_ALLOWED}")
    return int(max(times) > TIME_ALLOWED or max(peaks) > MEMORY_ALLOWED)


def _compared(options: Options, suite: Suite, cases: Sequence[Case], rounds: int) -> list[tuple[float, float]]:
    """Print the tables of a suite; return, for each case, its time over the kept one, and its peak over the leanest."""
    sides = [options._replace(setting=setting) for setting in SETTINGS]
    runs = in_rounds(sides, rounds, suite.title, lambda side: [launch.time_groups(side, [[c]])[0] for c in cases])
    memory = [[Memory(**launch.run(RESIDENT, side, case=case, calls=CALLS)) for side in sides] for case in cases]
    ratios = []
    times, peaks = [], []
    for k, case in enumerate(cases):
        medians = [[1e3 * median(found[k].samples) for found in side] for side in runs]
        over = [default / kept for default, kept in zip(medians[0], medians[1], strict=True)]
        default, kept, none = memory[k]
        ratios.append((median(over), default.peak / none.peak))
        spread = f"{ratios[-1][0]:.2f}x ({min(over):.2f} to {max(over):.2f})"
        times.append([case.name, *(number(median(side)) for side in medians), spread])
        above = [number((each.peak - each.before) / 1e6) for each in (default, none)]
        left = [number((each - default.before) / 1e6) for each in (default.after, default.released)]
        faults = [str(each.faults) for each in (default, kept, none)]
        peaks.append([case.name, *faults, *above, f"{ratios[-1][1]:.2f}x", *left])
    print(table(f"{suite.title}: milliseconds, medians of {rounds} rounds", ["", *_HEADER, "default over kept"], times))
    header = [f"page faults a call, {name}" for name in _HEADER]
    header += ["MB at the peak above the inputs, default", "returned", "peak of the process, default over returned"]
    print(table(f"{suite.title}: memory", ["", *header, "MB after the calls", "after release()"], peaks))
    return ratios


_HEADER = ("default", "kept", "returned")
