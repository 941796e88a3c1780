"""Peak memory of the tutorial's network without gradients, against the number of steps."""

from benchmarks.case import FORWARD, Case, Size
from benchmarks.networks import CHUNKED, FOLD, STEP
from benchmarks.options import Options
from benchmarks.section import Records, Section, Step, distinct, select, value
from benchmarks.sections import memory
from benchmarks.table import Table, megabytes
from benchmarks.workloads import DIGITS

CONTESTANTS = (FOLD, CHUNKED, STEP)
BATCH = 32

NOTE = "Megabytes above the inputs, which grow with T themselves: the last row."


def lengths(options: Options) -> list[int]:
    """Return the numbers of steps."""
    return [8, 64] if options.quick else [8, 64, 256, 1024]


def _steps(options: Options) -> list[Step]:
    def step(name: str, T: int) -> Step:
        case = Case(name, Size(T=T, B=BATCH, N=784), FORWARD, DIGITS)
        return Step(f"{name}, T = {T}", lambda: memory.measure(options, case))

    return [step(name, T) for T in lengths(options) for name in CONTESTANTS]


def _tables(records: Records) -> list[Table]:
    Ts = distinct(records, "T")
    rows = []
    for name in distinct(records, "implementation"):
        peaks = [value(select(records, T=T), "bytes", implementation=name) for T in Ts]
        rows.append([name, *map(megabytes, peaks)])
    rows.append(["inputs", *(megabytes(Size(T, BATCH, 784).stream) for T in Ts)])
    title = f"Peak memory of the tutorial's network, forward: batch {BATCH}"
    return [Table(title, ["", *(f"T = {T}" for T in Ts)], rows, NOTE)]


_CHECKS: dict[str, tuple[str, ...]] = dict.fromkeys(CONTESTANTS, (DIGITS,))

SECTION = Section("inference-memory", "Memory of inference", _CHECKS, _steps, _tables)
