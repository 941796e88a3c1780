"""A deep network on colour images: images a second in training, and the peak memory of a step."""

from benchmarks import allocator, bars
from benchmarks.bars import Bar
from benchmarks.case import TRAINING, Case, Size
from benchmarks.networks import FLOOR, FOLD, STEP
from benchmarks.options import Options
from benchmarks.section import Record, Records, Section, Step, distinct, select, value
from benchmarks.sections import memory
from benchmarks.sections.digits import at_best, in_both, rate_tables
from benchmarks.sections.libraries import contest
from benchmarks.table import Table, megabytes, times
from benchmarks.workloads import DEEP

PEER = "spikingjelly"
SPIKING = (*in_both(FOLD), STEP, *in_both(PEER))
CONTESTANTS = (*SPIKING, *in_both(FLOOR))
# peaks vary by a tenth from process to process
PROCESSES = 3

NOTE = (
    "Megabytes above the spikes, the weights, their gradients and the moments of Adam, median of three processes; and "
    "times that of the fold."
)


def sizes(options: Options) -> list[Size]:
    """Return few steps and many."""
    if options.quick:
        return [Size(T=4, B=2, N=3 * 16 * 16), Size(T=16, B=1, N=3 * 16 * 16)]
    return [Size(T=4, B=16, N=3 * 32 * 32), Size(T=16, B=8, N=3 * 32 * 32)]


def _steps(options: Options) -> list[Step]:
    def timed(size: Size, setting: str) -> Step:
        label = f"T = {size.T}, {setting}"
        return Step(label, lambda: contest(options, CONTESTANTS, DEEP, size, setting, (TRAINING,)))

    def measured(size: Size) -> Step:
        return Step(f"T = {size.T}, memory", lambda: _peaks(options, size))

    times_first = [timed(size, setting) for size in sizes(options) for setting in allocator.SETTINGS]
    return times_first + [measured(size) for size in sizes(options)]


def _peaks(options: Options, size: Size) -> list[Record]:
    found = []
    for name in CONTESTANTS:
        runs = [r for _ in range(PROCESSES) for r in memory.measure(options, Case(name, size, TRAINING, DEEP))]
        found += sorted(runs, key=lambda run: run["bytes"])[len(runs) // 2 :][:1]
    return found


def _split(records: Records) -> tuple[Records, Records]:
    """Return the timings, and the peaks of memory."""
    return [r for r in records if "allocator" in r], [r for r in records if "bytes" in r]


def _tables(records: Records) -> list[Table]:
    timed, measured = _split(records)
    tables = rate_tables(timed, "Five convolutions and a linear layer with LIF", base=FOLD)
    columns = [select(measured, T=T) for T in distinct(measured, "T")]
    rows = [[name, *(_cell(column, name) for column in columns)] for name in distinct(measured, "implementation")]
    header = ["", *(f"T = {column[0]['T']}, batch {column[0]['B']}" for column in columns)]
    return [*tables, Table("The same, peak memory of a step of training", header, rows, NOTE)]


def _cell(records: Records, name: str) -> str:
    this, fold = (value(records, "bytes", implementation=n) for n in (name, FOLD))
    return f"{megabytes(this)} {times(this / fold) if name != FOLD else '':>6}"


def _bars(records: Records) -> list[Bar]:
    timed, measured = _split(records)
    found = []
    for T in distinct(timed, "T"):
        for setting in (allocator.KEPT, allocator.DEFAULT):
            here = select(timed, T=T, allocator=setting)
            ratio = at_best(here, FOLD, over=PEER)
            name = f"deep, T = {T}, {setting}: the fold, images/s over {PEER}"
            found.append(Bar(name, ratio, bars.DEEP_SPEED, at_least=True))
        ours, peers = (
            min(value(measured, "bytes", T=T, implementation=name) for name in names)
            for names in (in_both(FOLD), in_both(PEER))
        )
        found.append(Bar(f"deep, T = {T}: peak memory over {PEER}'s", ours / peers, bars.DEEP_MEMORY))
    return found


_CHECKS: dict[str, tuple[str, ...]] = dict.fromkeys(SPIKING, (DEEP,))

SECTION = Section("deep", "Training a deep network", _CHECKS, _steps, _tables, _bars)
