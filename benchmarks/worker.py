"""One measurement in a process of its own: a job comes as JSON on stdin, its result goes as the last line of stdout.

A first call can be timed but once, and no library shall suffer from another's heap or
threads. For the same reason, functions load what they need.
"""

import ctypes
import datetime
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.suite import BOTH, DIFFERENCE, FIRST_CALL, FLUSHED, MEMORY, TIME, Case, Size

Job = dict[str, Any]
Call = Callable[[], object]
LIBRARIES = ("spikingtorch", "torch", "numpy", "spikingjelly", "snntorch", "norse", "sinabs")
IN_JAX = ("jax", "jaxlib", "optax", "spyx", "jaxpike", "brainpy")


def _case(fields: Sequence[Any]) -> Case:
    """Return the case that JSON has made a list of, in its usual mode."""
    contestant, model, size, _ = fields
    return Case(contestant, model, Size(*size))


def _call_of(fields: Sequence[Any], backend: str, built: dict[Case, Any]) -> Call:
    """Return the call of a case that JSON has made a list of; calls of one contestant share their inputs."""
    from benchmarks import peers

    case, mode = _case(fields), fields[-1]
    if case not in built:
        built[case] = peers.subject(case, backend).calls
    return built[case].get(mode, built[case].get(BOTH))


def in_turns(calls: Sequence[Call], repetitions: int, budget: float, block: int) -> list[tuple[list[float], str]]:
    """Time the calls in turns, so that a slow spell of the machine meets all of them alike; note why samples are few.

    A sample is the median of some calls. One comes before, to warm up, and is all there is if it spends the budget.
    """
    from benchmarks.subject import seconds

    def sample(call: Call) -> float:
        return statistics.median([seconds(call) for _ in range(block)])

    first = [sample(call) for call in calls]
    samples: list[list[float]] = [[] for _ in calls]
    for _ in range(repetitions):
        for k, call in enumerate(calls):
            if (first[k] + sum(samples[k])) * block <= budget:
                samples[k].append(sample(call))
    notes = ["" if len(own) == repetitions else f"over budget after {len(own) or 1}" for own in samples]
    return [(own or [one], note) for own, one, note in zip(samples, first, notes, strict=True)]


def run_time(job: Job) -> Any:
    """Time each group of cases."""
    built: dict[Case, Any] = {}
    results = []
    for group in job["groups"]:
        calls = [_call_of(case, job["backend"], built) for case in group]
        for call in [call for call, case in zip(calls, group, strict=True) if case[0].endswith("compile")]:
            call()  # a compiler takes long, and has run before the clock does
        results += in_turns(calls, job["repetitions"], job["budget"], job["block"])
    return results


def run_memory(job: Job) -> int:
    """Return how many bytes a call needs beyond its inputs: the high-water mark, less what was there before."""
    call = _call_of(job["case"], job["backend"], {})
    call()
    before = _start_of_peak()
    call()
    return _resident("VmHWM") - before


def _start_of_peak() -> int:
    """Give freed memory back, lower the high-water mark to what is resident then, and return that."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # as proc_pid_clear_refs(5) says
    return _resident("VmRSS")


def _resident(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))


def run_first_call(job: Job) -> dict[str, float]:
    """Return seconds of the first call, of the second, and of the tracer's set-up, where that comes before."""
    from benchmarks import peers
    from benchmarks.subject import seconds

    subject = peers.subject(_case(job["case"]), job["backend"])
    tracer = seconds(subject.tracer) if job["traced"] else 0.0
    return {"tracer": tracer, "first": seconds(subject.calls[BOTH]), "second": seconds(subject.calls[BOTH])}


def run_difference(job: Job) -> float:
    """Return the largest difference between what a case computes and what the plain loop does."""
    from benchmarks import peers

    subjects = [peers.subject(_case(job["case"]), job["backend"], plain) for plain in (False, True)]
    found, expected = (subject.observe(None)[0] for subject in subjects)
    return float(abs(found - expected).max())


def run_check(job: Job) -> list[str]:
    """Check one contestant on each model; whatever goes wrong there is a finding, and not a crash."""
    found = []
    for model in job["models"]:
        try:
            from benchmarks.check import check

            check(job["contestant"], model, job["backend"])
            found.append("")
        except Exception as error:
            found.append(f"{type(error).__name__}: {error}")
    return found


def run_machine(_: Job) -> dict[str, str]:
    """Return what everything is measured on and with, in the order in which to print it."""
    import torch

    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    versions = {each.metadata["Name"].lower(): each.version for each in metadata.distributions()}
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit.stdout.strip() or "unknown",
        "CPU": cpu[0].partition(":")[2].strip() if cpu else platform.processor(),
        "cores, threads of torch": f"{len(os.sched_getaffinity(0))}, {torch.get_num_threads()}",
        "load before": f"{os.getloadavg()[0]:.2f}",
        # the kernel puts what is on in brackets
        "transparent huge pages": pages.read_text().partition("[")[2].partition("]")[0] if pages.exists() else "none",
        "system": f"{platform.platform()}, Python {platform.python_version()}",
    } | {library: versions.get(library, "not installed") for library in (*LIBRARIES, *IN_JAX)}


KINDS: dict[str, Callable[[Job], Any]] = {
    TIME: run_time,
    MEMORY: run_memory,
    FIRST_CALL: run_first_call,
    DIFFERENCE: run_difference,
    "check": run_check,
    "machine": run_machine,
}


def main() -> None:
    """Do the job on stdin."""
    job = json.load(sys.stdin)
    if job["threads"] is not None:
        # before anything else is loaded: XLA has no setting, but takes a thread for each core that it may use
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job["threads"]])
        import torch

        torch.set_num_threads(job["threads"])
    if job["setting"] == FLUSHED:
        import torch

        torch.set_flush_denormal(True)  # before torch has threads, which take it over
    print("\n" + json.dumps(KINDS[job["kind"]](job)), flush=True)


if __name__ == "__main__":
    main()
