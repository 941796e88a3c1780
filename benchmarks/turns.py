"""Times our own cases with the code of two checkouts in turns, to see whether a change made something slower."""

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from tqdm import tqdm

from benchmarks import launch
from benchmarks.launch import HERE, Options
from benchmarks.report import number, table
from benchmarks.suite import TIME, Case, Result, Suite
from benchmarks.suites import SUITES


def timed(options: Options) -> list[Suite]:
    """Return the suites that are asked for, of those that measure times."""
    return [SUITES[name] for name in options.only or SUITES if TIME in SUITES[name].kinds]


def own_cases(suite: Suite, options: Options) -> list[Case]:
    """Return our own cases of a suite, but for loops and what is compiled."""
    cases = [case for size in suite.sizes_of(options.quick) for case in suite.cases(size)]
    return [case for case in cases if case.is_ours and not case.contestant.endswith(("loop", "compile"))]


def in_rounds(
    sides: Sequence[Options], rounds: int, title: str, timed: Callable[[Options], list[Result]]
) -> list[list[list[Result]]]:
    """Return what sides give in each round, each time in the opposite order."""
    runs: list[list[list[Result]]] = [[] for _ in sides]
    for k in tqdm(range(rounds), desc=title, leave=False):
        for side, run in [*zip(sides, runs, strict=True)][:: -1 if k % 2 else 1]:
            run.append(timed(side))
    return runs


def compare(options: Options, checkout: Path, rounds: int) -> int:
    """Print a table for each suite; return 1 if a check failed, whose case is not timed."""
    failed = False
    for suite in timed(options):
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            folders = [(checkout, Path(one)), (HERE.parent, Path(other))]
            sides = [_linked(options.of(suite), suite, root, folder) for root, folder in folders]
            own = own_cases(suite, options)
            red = set().union(*(launch.check(side, own) for side in sides))
            failed = failed or bool(red)
            print(_timed(suite, [case for case in own if case[:2] not in red], sides, rounds))
    return int(failed)


def _linked(options: Options, suite: Suite, checkout: Path, folder: Path) -> Options:
    """Return a run of the library of a checkout with these benchmarks; the checkout stays as it is."""
    for name, parent in (("spikingtorch", checkout), ("benchmarks", HERE.parent), ("examples", HERE.parent)):
        (folder / name).symlink_to((parent / name).resolve(strict=True))
    variables = {"PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    return options._replace(folder=folder, setting=suite.settings[-1], variables=variables)


def _timed(suite: Suite, cases: Sequence[Case], sides: Sequence[Options], rounds: int) -> str:
    rows = []
    for size in dict.fromkeys(case.size for case in cases):
        here = [case for case in cases if case.size == size]
        groups = [[case] for case in here]
        runs = in_rounds(sides, rounds, suite.title, partial(launch.time_groups, groups=groups))
        rows += [_row(case, *([found[k] for found in side] for side in runs)) for k, case in enumerate(here)]
    title = f"{suite.title}: milliseconds, median (minimum) of {rounds} rounds"
    return table(title, ["", "old", "new", "new over old", "in a round"], rows)


def _row(case: Case, old: Sequence[Result], new: Sequence[Result]) -> list[str]:
    pairs = [(before, after) for before, after in zip(old, new, strict=True) if before.samples and after.samples]
    if not pairs:
        return [case.name, "", "", "", "over budget"]
    times = [[1e3 * sample for result in side for sample in result.samples] for side in zip(*pairs, strict=True)]
    shown = [f"{number(median(samples))} ({number(min(samples))})" for samples in times]
    ratios = [median(after.samples) / median(before.samples) for before, after in pairs]
    return [case.name, *shown, f"{median(ratios):.2f}x", f"{min(ratios):.2f}x to {max(ratios):.2f}x"]
