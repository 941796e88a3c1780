"""How time and memory grow with the number of steps."""

from benchmarks import allocator, launch
from benchmarks.case import Case, Size
from benchmarks.options import Options
from benchmarks.section import (
    Record,
    Records,
    Section,
    Step,
    distinct,
    select,
    timing,
    timing_records,
    value,
    with_steps,
)
from benchmarks.sections import memory
from benchmarks.table import Table, megabytes, milliseconds, times
from benchmarks.workloads import JAX, OUR_LOOP, OURS

CONTESTANTS: tuple[str, ...] = (OURS, JAX, OUR_LOOP)
N = 512


def lengths(options: Options) -> list[int]:
    """Return the numbers of steps."""
    return [30, 60, 120] if options.quick else [125, 250, 500, 1000, 2000, 4000]


def _steps(options: Options) -> list[Step]:
    def measure(size: Size) -> list[Record]:
        contestants = [[[Case(name, size)]] for name in CONTESTANTS]
        records = timing_records(launch.time_side_by_side(options, contestants, allocator.DEFAULT), allocator.DEFAULT)
        for name in CONTESTANTS:
            records += memory.measure(options, Case(name, size))
        return records

    def step(T: int) -> Step:
        return Step(f"T = {T}", lambda: measure(with_steps(options.size(N), T)))

    return [step(T) for T in lengths(options)]


def _tables(records: Records) -> list[Table]:
    tables = []
    for name in CONTESTANTS:
        timed = select(records, implementation=name, allocator=allocator.DEFAULT)
        sized = [record for record in select(records, implementation=name) if "bytes" in record]
        Ts = distinct(timed, "T")
        seconds = {T: timing(timed, T=T).median / T for T in Ts}
        memory_of = {T: value(sized, "bytes", T=T) / T for T in Ts}
        rows = [
            [
                f"T = {T}",
                milliseconds(timing(timed, T=T)),
                times(seconds[T] / seconds[Ts[0]]),
                megabytes(memory_of[T] * T),
                times(memory_of[T] / memory_of[Ts[0]]),
            ]
            for T in Ts
        ]
        title = f"Growth with T, {name}, forward + backward: B = {timed[0]['B']}, N = {N}"
        header = ["", "milliseconds", f"a step, over T = {Ts[0]}", "megabytes", f"a step, over T = {Ts[0]}"]
        tables.append(Table(title, header, rows))
    return tables


SECTION = Section("growth", "Growth with T", dict.fromkeys(CONTESTANTS, ("lif",)), _steps, _tables)
