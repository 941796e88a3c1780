"""A linear layer in front of LIF: how much of a neuron's speed is left beside a product of matrices."""

from benchmarks import allocator, bars
from benchmarks.bars import Bar
from benchmarks.case import BOTH, Size
from benchmarks.networks import EAGER, OLDER, OURS_IN_EVERY_MODE
from benchmarks.options import Options
from benchmarks.section import Records, Section, Step, select, timing
from benchmarks.sections.libraries import contest, contest_tables
from benchmarks.table import Table
from benchmarks.workloads import LINEAR, OURS

PEERS = ("spikingjelly", "snntorch", "snntorch, by layer", "norse", "norse, by layer", "sinabs")
CONTESTANTS = (*OURS_IN_EVERY_MODE, *PEERS, EAGER, OLDER)

NOTE = "Median (minimum), and times ours. Inputs spike in 5 % of the steps; the gradient is that of the weights."


def _steps(options: Options) -> list[Step]:
    def step(size: Size, setting: str) -> Step:
        label = f"N = {size.N}, {setting}"
        return Step(label, lambda: contest(options, CONTESTANTS, LINEAR, size, setting, (BOTH,)))

    return [step(options.size(N), setting) for N in bars.LINEAR for setting in allocator.SETTINGS]


def _tables(records: Records) -> list[Table]:
    tables = contest_tables(records, "Linear(N, N) and LIF")
    return [Table(t.title, t.header, t.rows, NOTE) for t in tables]


def _bars(records: Records) -> list[Bar]:
    found = []
    for N, limit in bars.LINEAR.items():
        for setting in (allocator.KEPT, allocator.DEFAULT):
            here = select(records, N=N, allocator=setting)
            # a peer without samples was too slow to be the fastest
            medians = [t.median for t in (timing(here, implementation=name) for name in PEERS) if t.samples]
            value = min(medians, default=float("nan")) / timing(here, implementation=OURS).median
            found.append(Bar(f"linear, N = {N}, {setting}: faster than the fastest peer", value, limit, at_least=True))
    return found


_CHECKS: dict[str, tuple[str, ...]] = dict.fromkeys(CONTESTANTS, (LINEAR,))

SECTION = Section("linear", "A linear layer and LIF", _CHECKS, _steps, _tables, _bars)
