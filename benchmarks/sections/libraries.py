"""LIF against other libraries, against JAX and against loops in Python."""

from collections.abc import Mapping, Sequence

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
    contestants: Sequence[str | tuple[str, ...]],
    model: str,
    size: Size,
    setting: str,
    modes: tuple[str, ...] = (BOTH, FORWARD),
) -> list[Record]:
    """Time implementations of a neuron or of a network side by side; of a neuron forward alone, and with backward.

    Each has processes of its own, but for those in a tuple, which take turns in one.
    """
    together = [(each,) if isinstance(each, str) else each for each in contestants]
    groups = [[[Case(name, size, mode, model) for name in names] for mode in modes] for names in together]
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


def contest_bars(
    records: Records,
    where: str,
    sizes: Sequence[int],
    peers: Sequence[str],
    limits: Mapping[str, tuple[float, float]],
) -> list[Bar]:
    """Return how many times faster than the fastest peer, and than JAX, ours is, forward and backward.

    Args:
        records: of a contest.
        where: what the neurons are.
        sizes: numbers of neurons to compare at.
        peers: those of the contestants that count.
        limits: for each setting of the allocator that of the peers, and that of JAX.
    """
    found = []
    for N in sizes:
        for setting, (over_peers, over_jax) in limits.items():
            here = select(records, N=N, allocator=setting, mode=BOTH)
            median = {name: timing(here, implementation=name).median for name in (OURS, JAX, *peers)}
            # a peer without samples was too slow to be the fastest
            peer = min((median[name] for name in peers if median[name] > 0.0), default=float("nan"))
            name = f"{where}, N = {N}, {setting}: faster than"
            found.append(Bar(f"{name} the fastest peer", peer / median[OURS], over_peers, at_least=True))
            found.append(Bar(f"{name} JAX", median[JAX] / median[OURS], over_jax, at_least=True))
    return found


def _bars(records: Records) -> list[Bar]:
    settings = (allocator.KEPT, allocator.DEFAULT)
    limits = {setting: (bars.FASTER_THAN_PEERS[setting], bars.FASTER_THAN_JAX[setting]) for setting in settings}
    return contest_bars(records, "LIF", bars.COMPARED_AT, PEERS, limits)


_CHECKS: dict[str, tuple[str, ...]] = dict.fromkeys(CONTESTANTS, ("lif",))

SECTION = Section("libraries", "LIF against other libraries", _CHECKS, _steps, _tables, _bars)
