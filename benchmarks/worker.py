"""One measurement in a process of its own: a job comes as JSON on stdin, its result goes as the last line of stdout.

A process of its own, because the allocator cannot be set back, because a first call can be timed but once, and because
no library shall suffer from another's threads or heap.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from benchmarks import allocator
from benchmarks.case import Case, Size

Job = dict[str, Any]


def case_from_json(fields: dict[str, Any]) -> Case:
    """Return the case that ``dataclasses.asdict`` took apart."""
    return Case(fields["implementation"], Size(**fields["size"]), fields["mode"], fields["model"])


def run_time(job: Job) -> Any:
    """Time each group of cases, the cases of a group in turns; calls of the same implementation share their inputs.

    If one of a group cannot be run, all of it comes back without samples.
    """
    from benchmarks import clock, workloads
    from benchmarks.case import Timing
    from benchmarks.subject import UnavailableError

    built: dict[Case, dict[str, Callable[[], object]]] = {}
    results = []
    for group in job["groups"]:
        calls = []
        try:
            for case in map(case_from_json, group):
                key = Case(case.implementation, case.size, "", case.model)
                if key not in built:
                    built[key] = workloads.build(case, job["backend"])
                calls.append(built[key][case.mode])
                if case.implementation in workloads.COMPILED:
                    calls[-1]()
            timings = clock.measure(calls, job["repetitions"], job["budget"])
        except UnavailableError:
            timings = [Timing() for _ in group]
        results.append([asdict(timing) for timing in timings])
    return results


def run_memory(job: Job) -> Any:
    """Measure the peak memory of one case."""
    from benchmarks import memory, workloads

    case = case_from_json(job["case"])
    return memory.peak_above(workloads.build(case, job["backend"])[case.mode])


def run_check(job: Job) -> Any:
    """Check one implementation on each model; whatever goes wrong there is a finding, and not a crash."""
    from benchmarks import check
    from benchmarks.subject import UnavailableError

    results = []
    for model in job["models"]:
        try:
            results.append(check.check(job["implementation"], model, job["backend"]))
        except UnavailableError as error:
            results.append({"unavailable": str(error)})
        except Exception as error:
            results.append({"error": f"{type(error).__name__}: {error}"})
    return results


def run_first_call(job: Job) -> Any:
    """Time the first call."""
    from benchmarks import first_call

    return first_call.measure(job["T"], job["preload"], job["backend"])


def run_machine(_: Job) -> Any:
    """Describe the machine."""
    from benchmarks import machine

    return machine.describe()


KINDS: dict[str, Callable[[Job], Any]] = {
    "time": run_time,
    "memory": run_memory,
    "check": run_check,
    "first call": run_first_call,
    "machine": run_machine,
}


def main() -> None:
    """Do the job on stdin."""
    job = json.load(sys.stdin)
    threads = job["threads"]
    if threads is not None:
        # before anything else is loaded: XLA has no setting, but takes a thread for each core that it may use
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        import torch

        torch.set_num_threads(threads)
    allocator.apply(job["allocator"])
    result = KINDS[job["kind"]](job)
    print("\n" + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
