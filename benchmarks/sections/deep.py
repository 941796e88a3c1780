"""A deep network on colour images: images a second in training, and the peak memory of a step."""

import math

from benchmarks import allocator, bars
from benchmarks.bars import Bar
from benchmarks.case import TRAINING, Case, Size
from benchmarks.networks import CHANNELS_LAST, FLOOR, FOLD, STEP
from benchmarks.options import Options
from benchmarks.section import Record, Records, Section, Step, distinct, select, timing, value
from benchmarks.sections import memory
from benchmarks.sections.digits import rate_tables, speed
from benchmarks.sections.libraries import contest
from benchmarks.table import Table, megabytes, times
from benchmarks.workloads import DEEP

PEER = "spikingjelly"
# each in both formats of images: the faster one counts
OURS_IN_BOTH = (FOLD, FOLD + CHANNELS_LAST)
PEER_IN_BOTH = (PEER, PEER + CHANNELS_LAST)
SPIKING = (*OURS_IN_BOTH, STEP, *PEER_IN_BOTH)
CONTESTANTS = (*SPIKING, FLOOR, FLOOR + CHANNELS_LAST)
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
            fold, peer = (min(times, key=times.__getitem__) for times in _medians(here))
            ratio = speed(here, fold, over=peer)
            name = f"deep, T = {T}, {setting}: the fold, images/s over {PEER}"
            found.append(Bar(name, ratio, bars.DEEP_SPEED, at_least=True))
        ours, peers = (
            min(value(measured, "bytes", T=T, implementation=name) for name in names)
            for names in (OURS_IN_BOTH, PEER_IN_BOTH)
        )
        found.append(Bar(f"deep, T = {T}: peak memory over {PEER}'s", ours / peers, bars.DEEP_MEMORY))
    return found


def _medians(records: Records) -> list[dict[str, float]]:
    """Return the median time of ours and of the peer by format, those that were measured."""
    found = []
    for names in (OURS_IN_BOTH, PEER_IN_BOTH):
        timings = {name: timing(records, implementation=name) for name in names}
        found.append({name: each.median for name, each in timings.items() if each.samples} or {names[0]: math.nan})
    return found


_CHECKS: dict[str, tuple[str, ...]] = dict.fromkeys(SPIKING, (DEEP,))

SECTION = Section("deep", "Training a deep network", _CHECKS, _steps, _tables, _bars)
