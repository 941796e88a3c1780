"""How long the first call takes, with an empty cache of kernels and with a full one."""

import statistics
import tempfile
from typing import Any

from benchmarks import bars, launch
from benchmarks.bars import Bar
from benchmarks.options import Options
from benchmarks.section import Record, Records, Section, Step
from benchmarks.table import Table
from benchmarks.workloads import OURS

STEPS = (50, 5000)
CACHES = ("cold", "warm")
COLUMNS = (*CACHES, "second", "tracer", "everything")
CACHE_VARIABLE = "SPIKINGTORCH_CACHE_DIR"

NOTE = (
    "Seconds, median (minimum) over new processes; torch and spikingtorch are imported before. Tracer: the import and "
    "the first trace of torch's own tracer, which a process pays once and which the columns to its left leave out; "
    "everything: a cold first call with the tracer in it."
)


def _steps(options: Options) -> list[Step]:
    def step(T: int) -> Step:
        return Step(f"T = {T}", lambda: [_measure(options, T)])

    return [step(T) for T in STEPS]


def _measure(options: Options, T: int) -> Record:
    """Measure the first call at one number of steps several times."""
    rounds = [_round(options, T) for _ in range(1 if options.quick else options.repetitions)]
    return {"T": T, "samples": {name: [seconds[name] for seconds in rounds] for name in COLUMNS}}


def _round(options: Options, T: int) -> dict[str, float]:
    """Measure it once without preparation, then with a new folder of kernels and with the same one again."""
    with tempfile.TemporaryDirectory() as folder:
        plain = _worker(options, T, [], folder)
    with tempfile.TemporaryDirectory() as folder:
        cold, warm = (_worker(options, T, plain["loaded"], folder) for _ in CACHES)
    return {
        "cold": cold["first"],
        "warm": warm["first"],
        "second": warm["second"],
        "tracer": warm["preload"],
        "everything": plain["first"],
    }


def _worker(options: Options, T: int, preload: list[str], folder: str) -> dict[str, Any]:
    found: dict[str, Any] = launch.run(
        options, "first call", environment={CACHE_VARIABLE: folder}, T=T, preload=preload
    )
    return found


def _tables(records: Records) -> list[Table]:
    rows = []
    for record in records:
        cells = [f"{statistics.median(record['samples'][n]):.3f} ({min(record['samples'][n]):.3f})" for n in COLUMNS]
        rows.append([f"T = {record['T']}", *cells])
    header = ["", "first call, cold", "first call, warm", "second call", "tracer", "everything"]
    return [Table("First call of LIF, forward + backward", header, rows, NOTE)]


def _bars(records: Records) -> list[Bar]:
    medians = [{name: statistics.median(s) for name, s in record["samples"].items()} for record in records]
    short, long = medians
    limits = {"cold": bars.FIRST_CALL_COLD, "warm": bars.FIRST_CALL_WARM}
    found = [Bar(f"first call, {c}", max(m[c] for m in medians), limits[c], unit="s") for c in CACHES]
    growth = long["cold"] / short["cold"]
    return [*found, Bar(f"first call, cold: T = {STEPS[1]} over T = {STEPS[0]}", growth, bars.FIRST_CALL_GROWTH)]


SECTION = Section("first-call", "First call", {OURS: ("lif",)}, _steps, _tables, _bars)
