"""Times our own cases as the library comes, with all freed memory kept and with none, in turns; and their memory."""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from tqdm import tqdm

from benchmarks import launch
from benchmarks.launch import Options
from benchmarks.report import number, setup, table
from benchmarks.suite import DEFAULT, KEPT, RESIDENT, RETURNED, TIME, Case, Result, Suite
from benchmarks.suites import SUITES

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
    print(setup(launch.run("machine", options), options))
    found: list[tuple[float, float]] = []
    for suite in [SUITES[name] for name in options.only or SUITES]:
        if TIME in suite.kinds and KEPT in suite.settings:
            cases = [case for size in suite.sizes_of(options.quick) for case in suite.cases(size)]
            own = [case for case in cases if case.is_ours and not case.contestant.endswith(("loop", "compile"))]
            found += _compared(options.of(suite), suite, own, rounds)
    times, peaks = ([each[k] for each in found] for k in (0, 1))
    print(f"default over kept: median {median(times):.2f}, largest {max(times):.2f}, allowed {TIME_ALLOWED}")
    print(f"peak over that with nothing kept: median {median(peaks):.2f}, largest {max(peaks):.2f}, {MEMORY_ALLOWED}")
    return int(max(times) > TIME_ALLOWED or max(peaks) > MEMORY_ALLOWED)


def _compared(options: Options, suite: Suite, cases: Sequence[Case], rounds: int) -> list[tuple[float, float]]:
    """Print the tables of a suite; return, for each case, its time over the kept one, and its peak over the leanest."""
    sides = [options._replace(setting=setting) for setting in SETTINGS]
    runs: list[list[list[Result]]] = [[] for _ in sides]
    for k in tqdm(range(rounds), desc=suite.title, leave=False):
        for side in (0, 1, 2) if k % 2 == 0 else (2, 1, 0):
            one_each = [launch.time_groups(sides[side], [[case]])[0] for case in cases]
            runs[side].append(one_each)
    memory = [[Memory(**launch.run(RESIDENT, side, case=case, calls=CALLS)) for side in sides] for case in cases]
    ratios = []
    times, peaks = [], []
    for k, case in enumerate(cases):
        name = f"{case.contestant}, {case.model}, {case.mode}, {' x '.join(map(str, case.size))}"
        medians = [[1e3 * median(found[k].samples) for found in side] for side in runs]
        in_rounds = [default / kept for default, kept in zip(medians[0], medians[1], strict=True)]
        default, kept, none = memory[k]
        ratios.append((median(in_rounds), default.peak / none.peak))
        spread = f"{ratios[-1][0]:.2f}x ({min(in_rounds):.2f} to {max(in_rounds):.2f})"
        times.append([name, *(number(median(side)) for side in medians), spread])
        above = [number((each.peak - each.before) / 1e6) for each in (default, none)]
        left = [number((each - default.before) / 1e6) for each in (default.after, default.released)]
        faults = [str(each.faults) for each in (default, kept, none)]
        peaks.append([name, *faults, *above, f"{ratios[-1][1]:.2f}x", *left])
    print(table(f"{suite.title}: milliseconds, medians of {rounds} rounds", ["", *_HEADER, "default over kept"], times))
    header = [f"page faults a call, {name}" for name in _HEADER]
    header += ["MB at the peak above the inputs, default", "returned", "peak of the process, default over returned"]
    print(table(f"{suite.title}: memory", ["", *header, "MB after the calls", "after release()"], peaks))
    return ratios


_HEADER = ("default", "kept", "returned")
