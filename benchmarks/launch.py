"""Starts workers and gathers what they measured."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import allocator
from benchmarks.case import Case, Timing
from benchmarks.options import Options
from benchmarks.workloads import COMPILED

ROOT = Path(__file__).parent.parent

# the budget counts what is timed; imports, inputs, first calls and compilers come on top of it
GRACE = 60.0
# and these on top of that, for each case that is compiled beforehand
COMPILATION = 240.0
# how often a contestant starts that uses up no more than its share of the budget each time
SWEEPS = 4

Groups = Sequence[Sequence[Case]]


class WorkerError(RuntimeError):
    """A worker ended without a result."""


def run(
    options: Options,
    kind: str,
    setting: str = allocator.DEFAULT,
    timeout: float | None = None,
    environment: Mapping[str, str] | None = None,
    **job: Any,
) -> Any:
    """Do one job in a new process and return its result.

    Args:
        options: the command line.
        kind: one of ``worker.KINDS``.
        setting: of the allocator.
        timeout: seconds until the process is ended.
        environment: variables to set in it.
        **job: what this kind of job needs to know.

    Raises:
        WorkerError: the process failed; the message ends with what it printed.
        subprocess.TimeoutExpired: it took longer than the timeout.
    """
    job |= {"kind": kind, "allocator": setting, "threads": options.threads, "backend": options.backend}
    variables = {"JAX_PLATFORMS": "cpu", "TQDM_DISABLE": "1"} | dict(environment or {})
    if options.threads is not None:
        variables["OMP_NUM_THREADS"] = str(options.threads)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.worker"],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=ROOT,
        env=os.environ | variables,
        check=False,
    )
    if done.returncode != 0:
        raise WorkerError(f"the worker for {job} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def time(options: Options, groups: Groups, setting: str) -> dict[Case, Timing]:
    """Time groups of cases in one process, the cases of a group in turns.

    A process that takes much longer than its budget is ended, and its cases come back without samples.
    """
    cases = [case for group in groups for case in group]
    packed = [[asdict(case) for case in group] for group in groups]
    compiled = sum(case.implementation in COMPILED for case in cases)
    timeout = GRACE + 2.0 * options.budget * len(cases) + COMPILATION * compiled
    try:
        result = run(
            options, "time", setting, timeout, groups=packed, repetitions=options.repetitions, budget=options.budget
        )
    except subprocess.TimeoutExpired:
        return {case: Timing(first=timeout, over_budget=True) for case in cases}
    timings = [Timing(**fields | {"samples": tuple(fields["samples"])}) for group in result for fields in group]
    return dict(zip(cases, timings, strict=True))


def time_side_by_side(options: Options, contestants: Sequence[Groups], setting: str) -> dict[Case, Timing]:
    """Time contestants, each in processes of its own, one right after the other.

    Those that are fast enough run again, each time in the opposite order, and all their samples are pooled: so a slow
    spell of the machine hits no contestant alone.

    Args:
        options: the command line.
        contestants: the cases of each.
        setting: of the allocator.
    """
    found: dict[Case, Timing] = {}
    running = list(contestants)
    for _ in range(1 if options.quick else SWEEPS):
        again = []
        for groups in running:
            timings = time(options, groups, setting)
            for case, timing in timings.items():
                found[case] = found[case].pooled(timing) if case in found else timing
            if all(timing.samples and sum(timing.samples) < options.budget / SWEEPS for timing in timings.values()):
                again.append(groups)
        running = again[::-1]
    return found
