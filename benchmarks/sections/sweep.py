"""vmap over eight time constants, against one call with eight times the batch."""

from benchmarks import allocator, bars, launch
from benchmarks.bars import Bar
from benchmarks.case import Case
from benchmarks.options import Options
from benchmarks.section import Record, Records, Section, Step, distinct, select, size_text, timing, timing_records
from benchmarks.table import Table, milliseconds, times
from benchmarks.workloads import SWEEP

ONE, VMAP, OWN = "one call", "vmap", "vmap, own inputs"
N = 512

NOTE = (
    "Gradients of the input and of the time constants. vmap: all eight with the same input, whose gradient is the sum "
    "over the eight; own inputs: each with one of its own, as in one call."
)


def _steps(options: Options) -> list[Step]:
    def measure(setting: str) -> list[Record]:
        group = [Case(SWEEP, options.size(N), mode) for mode in (ONE, VMAP, OWN)]
        return timing_records(launch.time_side_by_side(options, [[group]], setting), setting)

    def step(setting: str) -> Step:
        return Step(setting, lambda: measure(setting))

    return [step(setting) for setting in allocator.SETTINGS]


def _ratio(records: Records, setting: str, mode: str) -> float:
    here = select(records, allocator=setting)
    return timing(here, mode=mode).median / timing(here, mode=ONE).median


def _tables(records: Records) -> list[Table]:
    settings = distinct(records, "allocator")
    rows = []
    for mode in (ONE, VMAP, OWN):
        cells = [milliseconds(timing(records, allocator=setting, mode=mode)) for setting in settings]
        rows.append([mode, *cells, *(times(_ratio(records, setting, mode)) for setting in settings)])
    title = f"Eight time constants, LIF, forward + backward: {size_text(records)}, N = {N}, milliseconds"
    return [Table(title, ["", *settings, *(f"over one call, {setting}" for setting in settings)], rows, NOTE)]


def _bars(records: Records) -> list[Bar]:
    settings = distinct(records, "allocator")
    name = "vmap over eight time constants, {}: over one call of eight times the batch"
    return [Bar(name.format(setting), _ratio(records, setting, VMAP), bars.SWEEP) for setting in settings]


SECTION = Section("sweep", "vmap over time constants", {SWEEP: ("lif",)}, _steps, _tables, _bars)
