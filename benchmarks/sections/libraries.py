"""LIF against other libraries, against JAX and against loops in Python."""

from benchmarks import allocator, bars, launch
from benchmarks.bars import Bar
from benchmarks.case import BOTH, FORWARD, Case, Size
from benchmarks.options import Options
from benchmarks.section import Record, Records, Section, Step, distinct, select, size_text, timing, timing_records
from benchmarks.table import Table, milliseconds
from benchmarks.workloads import JAX, OUR_LOOP, OURS

PEERS = ("spikingjelly", "snntorch", "norse", "norse, Lift", "sinabs")
CONTESTANTS: tuple[str, ...] = (
    OURS,
    JAX,
    "spikingjelly",
    "snntorch",
    "norse",
    "eager loop",
    OUR_LOOP,
    "norse, Lift",
    "sinabs",
)


def contest(
    options: Options,
    contestants: tuple[str, ...],
    model: str,
    size: Size,
    setting: str,
    modes: tuple[str, ...] = (BOTH, FORWARD),
) -> list[Record]:
    """Time implementations of a neuron or of a network side by side; of a neuron forward alone, and with backward."""
    groups = [[[Case(name, size, mode, model)] for mode in modes] for name in contestants]
    return timing_records(launch.time_side_by_side(options, groups, setting), setting)


def contest_tables(records: Records, title: str) -> list[Table]:
    """Return a table for each setting of the allocator and each mode, an implementation a row."""
    tables = []
    sizes = distinct(records, "N")
    for setting in distinct(records, "allocator"):
        for mode in distinct(records, "mode"):
            rows = []
            for name in distinct(records, "implementation"):
                cells = [_cell(select(records, allocator=setting, mode=mode, N=N), name) for N in sizes]
                rows.append([name, *cells])
            heading = f"{title}, {mode}, {setting}: {size_text(records)}, milliseconds"
            tables.append(Table(heading, ["", *(f"N = {N}" for N in sizes)], rows))
    return tables


def _cell(records: Records, name: str) -> str:
    """Return the time of an implementation, and how many times ours that is."""
    ours, this = timing(records, implementation=OURS), timing(records, implementation=name)
    ratio = f"{this.median / ours.median:6.2f}x" if this.samples and name != OURS else " " * 7
    return f"{milliseconds(this)} {ratio}"


def _steps(options: Options) -> list[Step]:
    def step(size: Size, setting: str) -> Step:
        return Step(f"N = {size.N}, {setting}", lambda: contest(options, CONTESTANTS, "lif", size, setting))

    return [step(size, setting) for size in options.sizes for setting in allocator.SETTINGS]


def _tables(records: Records) -> list[Table]:
    note = "Median (minimum), and times ours."
    return [Table(t.title, t.header, t.rows, note) for t in contest_tables(records, "LIF")]


def _bars(records: Records) -> list[Bar]:
    found = []
    for N in bars.COMPARED_AT:
        for setting in (allocator.KEPT, allocator.DEFAULT):
            here = select(records, N=N, allocator=setting, mode=BOTH)
            median = {name: timing(here, implementation=name).median for name in CONTESTANTS}
            # a peer without samples was too slow to be the fastest
            peer = min((median[name] for name in PEERS if median[name] > 0.0), default=float("nan"))
            where = f"LIF, N = {N}, {setting}"
            limits = bars.FASTER_THAN_PEERS[setting], bars.FASTER_THAN_JAX[setting]
            found.append(Bar(f"{where}: faster than the fastest peer", peer / median[OURS], limits[0], at_least=True))
            found.append(Bar(f"{where}: faster than JAX", median[JAX] / median[OURS], limits[1], at_least=True))
    return found


_CHECKS: dict[str, tuple[str, ...]] = dict.fromkeys(CONTESTANTS, ("lif",))

SECTION = Section("libraries", "LIF against other libraries", _CHECKS, _steps, _tables, _bars)
