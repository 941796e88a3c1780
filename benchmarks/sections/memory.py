"""Peak memory of forward and backward, ours and that of the other libraries."""

import subprocess
from dataclasses import asdict

from benchmarks import bars, launch
from benchmarks.bars import Bar
from benchmarks.case import Case, Size
from benchmarks.options import Options
from benchmarks.section import Record, Records, Section, Step, distinct, select, size_text, value
from benchmarks.sections.libraries import CONTESTANTS, PEERS
from benchmarks.table import Table, megabytes
from benchmarks.workloads import OURS

SIZES = bars.COMPARED_AT

NOTE = (
    "Megabytes above the inputs, and in brackets as a number of tensors of shape (T, B, N). Ours holds the spikes, the "
    "gradient and a state every so many steps. See memory.py for the method."
)


def measure(options: Options, case: Case) -> list[Record]:
    """Measure one case, nothing if it takes too long."""
    timeout = launch.GRACE + 4.0 * options.budget
    try:
        peak = launch.run(options, "memory", timeout=timeout, case=asdict(case))
    except subprocess.TimeoutExpired:
        return []
    size = case.size
    return [{"implementation": case.implementation, **asdict(size), "bytes": peak, "streams": peak / size.stream}]


def _steps(options: Options) -> list[Step]:
    def step(name: str, size: Size) -> Step:
        return Step(f"{name}, N = {size.N}", lambda: measure(options, Case(name, size)))

    return [step(name, options.size(N)) for N in SIZES for name in CONTESTANTS]


def _cell(records: Records, name: str) -> str:
    found = select(records, implementation=name)
    return f"{megabytes(found[0]['bytes'])} ({found[0]['streams']:.1f})" if found else "over budget"


def _tables(records: Records) -> list[Table]:
    rows = [[name, *(_cell(select(records, N=N), name) for N in SIZES)] for name in distinct(records, "implementation")]
    title = f"Peak memory of LIF, forward + backward: {size_text(records)}"
    return [Table(title, ["", *(f"N = {N}" for N in SIZES)], rows, NOTE)]


def _bars(records: Records) -> list[Bar]:
    found = []
    for N in SIZES:
        peers = [r["bytes"] for r in select(records, N=N) if r["implementation"] in PEERS]
        ours = value(records, "bytes", N=N, implementation=OURS)
        leanest = min(peers, default=float("nan"))
        found.append(Bar(f"LIF, N = {N}: peak memory over the leanest peer's", ours / leanest, bars.MEMORY))
    return found


SECTION = Section("memory", "Peak memory", dict.fromkeys(CONTESTANTS, ("lif",)), _steps, _tables, _bars)
