"""LIF against the bandwidth of the memory."""

from benchmarks import allocator, bars, launch
from benchmarks.bars import Bar
from benchmarks.case import Case, Size
from benchmarks.options import Options
from benchmarks.section import Record, Records, Section, Step, select, size_text, timing, timing_records
from benchmarks.table import Table
from benchmarks.workloads import ADD, OURS

FRESH, PREALLOCATED = "fresh output", "preallocated output"

# an addition reads two tensors and writes one
ADD_STREAMS = 3
# x is read forward and backward, the spikes are written, their cotangent read and the gradient written
LIF_STREAMS = 5

NOTE = (
    f"GB/s of b + s c count {ADD_STREAMS} streams, those of LIF the {LIF_STREAMS} that no implementation can avoid: "
    "x twice, the spikes, their cotangent, the gradient. A share is one rate over the other."
)


def _steps(options: Options) -> list[Step]:
    def measure(size: Size, setting: str) -> list[Record]:
        group = [Case(OURS, size), Case(ADD, size, FRESH), Case(ADD, size, PREALLOCATED)]
        return timing_records(launch.time_side_by_side(options, [[group]], setting), setting)

    def step(size: Size, setting: str) -> Step:
        return Step(f"N = {size.N}, {setting}", lambda: measure(size, setting))

    return [step(size, setting) for size in options.sizes for setting in allocator.SETTINGS]


def _rates(records: Records, N: int, setting: str) -> tuple[float, float, float]:
    """Return GB/s of LIF, of the addition with a fresh output and of that with a preallocated one."""
    here = select(records, N=N, allocator=setting)
    stream = Size(here[0]["T"], here[0]["B"], N).stream if here else 0
    lif = timing(here, implementation=OURS).median
    fresh, preallocated = (timing(here, implementation=ADD, mode=mode).median for mode in (FRESH, PREALLOCATED))
    add = ADD_STREAMS * stream / 1e9
    return LIF_STREAMS * stream / 1e9 / lif, add / fresh, add / preallocated


def _tables(records: Records) -> list[Table]:
    rows = []
    for N, setting in dict.fromkeys((record["N"], record["allocator"]) for record in records):
        lif, fresh, preallocated = _rates(records, N, setting)
        rates = [f"{rate:.1f}" for rate in (lif, fresh, preallocated)]
        rows.append([f"N = {N}, {setting}", *rates, f"{lif / fresh:.0%}", f"{lif / preallocated:.0%}"])
    header = ["", "LIF GB/s", "add GB/s, fresh", "preallocated", "share of fresh", "share of preallocated"]
    return [Table(f"LIF, forward + backward, against memory bandwidth: {size_text(records)}", header, rows, NOTE)]


def _bars(records: Records) -> list[Bar]:
    found = []
    for N, setting in dict.fromkeys((record["N"], record["allocator"]) for record in records):
        if N >= bars.BANDWIDTH_FROM:
            lif, fresh, _ = _rates(records, N, setting)
            name = f"LIF, N = {N}, {setting}: share of the bandwidth"
            found.append(Bar(name, lif / fresh, bars.BANDWIDTH[setting], at_least=True, unit="%"))
    return found


SECTION = Section("bandwidth", "Memory bandwidth", {OURS: ("lif",)}, _steps, _tables, _bars)
