"""The tutorial's network on handwritten digits: images a second in training."""

from benchmarks import allocator, bars
from benchmarks.bars import Bar
from benchmarks.case import TRAINING, Size
from benchmarks.networks import CHANNELS_LAST, EAGER, FLOOR, FOLD, OLDER, STEP, batches
from benchmarks.options import Options
from benchmarks.section import Records, Section, Step, distinct, select, timing
from benchmarks.sections.libraries import contest
from benchmarks.table import Table, rate, times
from benchmarks.workloads import DIGITS, OURS

# in the form that their documentation shows
PEERS = ("spikingjelly", "snntorch", "norse")
BY_LAYER = ("snntorch, by layer", "norse, by layer", EAGER)
SMALL, LARGE = 32, 256


def in_both(*names: str) -> list[str]:
    """Return implementations in both formats of images; the faster one of each counts."""
    return [name + form for name in names for form in ("", CHANNELS_LAST)]


# these differ by less than two processes of one implementation do, so they share a process
_NEARLY_ALIKE = (OURS, FOLD)
_ALONE = (STEP, FOLD + CHANNELS_LAST, *in_both(*PEERS), *BY_LAYER, *in_both(OLDER))
SPIKING = (*_NEARLY_ALIKE, *_ALONE)
CONTESTANTS: tuple[str | tuple[str, ...], ...] = (_NEARLY_ALIKE, *_ALONE, *in_both(FLOOR))
SIZES = (Size(T=8, B=SMALL, N=784), Size(T=8, B=LARGE, N=784))

NOTE = (
    "Median (at best), and times as fast as the fold. A step is forward, cross entropy of the centred counts, backward "
    "and Adam; the spikes are drawn beforehand."
)


def rate_tables(records: Records, title: str, base: str) -> list[Table]:
    """Return a table of images a second for each setting of the allocator, a size a column.

    Args:
        records: those of one network.
        title: what the network is.
        base: the implementation that the others are put in relation to.
    """
    tables = []
    columns = [select(records, T=T, B=B) for T, B in dict.fromkeys((r["T"], r["B"]) for r in records)]
    for setting in distinct(records, "allocator"):
        rows = []
        for name in distinct(records, "implementation"):
            cells = [_cell(select(column, allocator=setting), name, base) for column in columns]
            rows.append([name, *cells])
        header = ["", *(f"T = {column[0]['T']}, batch {column[0]['B']}" for column in columns)]
        tables.append(Table(f"{title}, training, {setting}: images a second", header, rows, NOTE))
    return tables


def _cell(records: Records, name: str, base: str) -> str:
    this, other = timing(records, implementation=name), timing(records, implementation=base)
    record = records[0]
    images = record["B"] * batches(record["model"], record["B"])
    ratio = times(other.median / this.median) if this.samples and name != base else ""
    return f"{rate(this, images)} {ratio:>6}"


def speed(records: Records, name: str, over: str) -> float:
    """Return how many times as fast an implementation is as another one."""
    return timing(records, implementation=over).median / timing(records, implementation=name).median


def fastest(records: Records, name: str) -> str:
    """Return an implementation in that format of images in which it is faster."""
    timings = {each: timing(records, implementation=each) for each in in_both(name)}
    medians = {each: found.median for each, found in timings.items() if found.samples}
    return min(medians, key=medians.__getitem__, default=name)


def at_best(records: Records, name: str, over: str) -> float:
    """Return how many times as fast an implementation is as another one, each in its faster format."""
    return speed(records, fastest(records, name), over=fastest(records, over))


def _steps(options: Options) -> list[Step]:
    def step(size: Size, setting: str) -> Step:
        label = f"batch {size.B}, {setting}"
        return Step(label, lambda: contest(options, CONTESTANTS, DIGITS, size, setting, (TRAINING,)))

    return [step(size, setting) for size in SIZES for setting in allocator.SETTINGS]


def _tables(records: Records) -> list[Table]:
    return rate_tables(records, "The tutorial's network on digits", base=FOLD)


def _bars(records: Records) -> list[Bar]:
    found = []
    for setting in (allocator.KEPT, allocator.DEFAULT):
        small, large = (select(records, allocator=setting, B=B) for B in (SMALL, LARGE))
        peers = min(at_best(large, FOLD, over=name) for name in PEERS)
        for B, over, value, limit in (
            (SMALL, OLDER, at_best(small, FOLD, over=OLDER), bars.DIGITS_OVER_OLDER),
            (SMALL, "spikingjelly", at_best(small, FOLD, over="spikingjelly"), bars.DIGITS_OVER_SPIKINGJELLY),
            (LARGE, "the fastest peer", peers, bars.DIGITS_OVER_PEERS),
        ):
            name = f"digits, batch {B}, {setting}: the fold, images/s over {over}"
            found.append(Bar(name, value, limit, at_least=True))
        name = f"digits, batch {SMALL}, {setting}: time of the default mode over the fold"
        found.append(Bar(name, 1.0 / speed(small, OURS, over=FOLD), bars.DEFAULT_MODE))
    return found


_CHECKS: dict[str, tuple[str, ...]] = dict.fromkeys(SPIKING, (DIGITS,))

SECTION = Section("digits", "Training the tutorial's network", _CHECKS, _steps, _tables, _bars)
