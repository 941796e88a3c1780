"""Starts a process for each measurement, and gathers what it measured."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from benchmarks.suite import DEFAULT, DIFFERENCE, FIRST_CALL, MEMORY, TIME, Case, Result, Suite

HERE = Path(__file__).parent
# seconds on top of the budget: for imports, inputs and first calls, and for each case that is compiled beforehand
GRACE, COMPILATION = 60.0, 240.0
# how often a contestant starts that uses up no more than its share of the budget each time
STARTS = 3

Groups = Sequence[Sequence[Case]]


class Options(NamedTuple):
    """What to run, how long, and where; ``__main__.parse`` says more of the first six."""

    backend: str
    only: Sequence[str]
    quick: bool
    threads: int | None
    budget: float
    output: Path
    repetitions: int  # samples in one process
    block: int = 1  # a sample is the median of so many calls
    folder: Path = HERE.parent  # has the packages
    setting: str = DEFAULT  # of a process: its arithmetic
    variables: Mapping[str, str] = {}  # of the environment

    def of(self, suite: Suite) -> "Options":
        """Return the options of a suite."""
        return self._replace(threads=suite.threads or self.threads, block=suite.block)


def run(kind: str, options: Options, timeout: float | None = None, **job: Any) -> Any:
    """Do a job in a new process and return its result; raise RuntimeError if it fails."""
    job |= {"kind": kind, **options._asdict()}
    variables = {"JAX_PLATFORMS": "cpu", "TQDM_DISABLE": "1", "PYTHONPATH": str(options.folder), **options.variables}
    if options.threads is not None:
        variables["OMP_NUM_THREADS"] = str(options.threads)
    process = partial(subprocess.run, capture_output=True, text=True, check=False, env=os.environ | variables)
    command = [sys.executable, "-m", "benchmarks.worker"]
    done = process(command, input=json.dumps(job, default=str), timeout=timeout, cwd=options.folder)
    if done.returncode != 0:
        raise RuntimeError(f"the worker for {job} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def check(options: Options, cases: Iterable[Case]) -> set[tuple[str, str]]:
    """Check every contestant on every model; say what is wrong, and return the contestant and the model of it."""
    models: dict[str, dict[str, None]] = {}
    for case in cases:
        models.setdefault(case.contestant, {})[case.model] = None
    red = set()
    for contestant, names in tqdm(models.items(), desc="equality checks", leave=False):
        errors = run("check", options, contestant=contestant, models=list(names))
        for model, error in [(model, error) for model, error in zip(names, errors, strict=True) if error]:
            tqdm.write(f"{contestant}, {model}, {options.folder}: {error}", file=sys.stderr)
            red.add((contestant, model))
    return red


def time_groups(options: Options, groups: Groups) -> list[Result]:
    """Time groups of cases in one process, the cases of a group in turns; end it if it takes much too long."""
    cases = [case for group in groups for case in group]
    compiled = sum(case.contestant.endswith("compile") for case in cases)
    timeout = GRACE + 2.0 * options.budget * len(cases) + COMPILATION * compiled
    try:
        found = run(TIME, options, timeout, groups=groups)
    except subprocess.TimeoutExpired:
        found = [([], f"over budget, > {timeout:.0f} s")] * len(cases)
    pairs = zip(cases, found, strict=True)
    return [Result(case, options.setting, TIME, tuple(samples), note) for case, (samples, note) in pairs]


def time_side_by_side(options: Options, processes: Sequence[Groups]) -> list[Result]:
    """Time contestants, each in its own processes; the fast ones again and again, each time in the opposite order."""
    found: dict[Case, Result] = {}
    running = list(processes)
    for _ in range(1 if options.quick else STARTS):
        again = []
        for groups in running:
            results = time_groups(options, groups)
            for result in results:
                before = found[result.case].samples if result.case in found else ()
                found[result.case] = replace(result, samples=before + result.samples)
            spent = [sum(result.samples) * options.block for result in results]
            if all(0.0 < seconds < options.budget / STARTS for seconds in spent):
                again.append(groups)
        running = again[::-1]
    return list(found.values())


def peak_memory(options: Options, case: Case, processes: int) -> list[Result]:
    """Measure the peak memory of a case in some processes; none of it if that takes too long."""
    try:
        peaks = [run(MEMORY, options, GRACE + 4.0 * options.budget, case=case) for _ in range(processes)]
    except subprocess.TimeoutExpired:
        return [Result(case, DEFAULT, MEMORY, note="over budget")]
    return [Result(case, DEFAULT, MEMORY, tuple(peaks))]


def first_call(options: Options, cases: Sequence[Case]) -> list[Result]:
    """Measure a contestant's first call some times: as it comes, with a new folder of kernels, and the same again."""
    found: list[dict[str, float]] = []
    for _ in range(1 if options.quick else options.repetitions):
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
            runs = [(folder, False), (other, True), (other, True)]
            ready = [(options._replace(variables={"SPIKINGTORCH_CACHE_DIR": cache}), traced) for cache, traced in runs]
            plain, cold, warm = (run(FIRST_CALL, here, case=cases[0], traced=traced) for here, traced in ready)
        found += [{"cold": cold["first"], "warm": warm["first"], "second": warm["second"]}]
        found[-1] |= {"tracer": warm["tracer"], "everything": plain["first"]}
    return [Result(case, DEFAULT, FIRST_CALL, tuple(each[case.mode] for each in found)) for case in cases]


def difference(options: Options, case: Case) -> list[Result]:
    """Measure how far what a case computes is from the plain loop."""
    return [Result(case, DEFAULT, DIFFERENCE, (run(DIFFERENCE, options, case=case),))]


def steps(options: Options, suite: Suite) -> Iterator[tuple[str, Callable[[], list[Result]]]]:
    """Yield what there is to measure in a suite, in order, each with a label."""
    for size in suite.sizes_of(options.quick):
        here = f"T = {size.T}, B = {size.B}, N = {size.N}"
        for setting in suite.settings if TIME in suite.kinds else ():
            yield (
                ", ".join(filter(None, (here, setting))),
                partial(time_side_by_side, options._replace(setting=setting), suite.processes(size)),
            )
        for case in suite.cases(size) if MEMORY in suite.kinds else ():
            yield (
                f"{case.contestant}, {here}",
                partial(peak_memory, options, case, 1 if options.quick else suite.memory_runs),
            )
        for process in suite.processes(size) if FIRST_CALL in suite.kinds else ():
            cases = [case for group in process for case in group]
            yield f"{cases[0].contestant}, {here}", partial(first_call, options, cases)
        compared = [case for case in suite.cases(size) if not case.contestant.endswith("loop")]
        for case in compared if DIFFERENCE in suite.kinds else ():
            yield f"{case.contestant}, {case.model}, {here}", partial(difference, options, case)
