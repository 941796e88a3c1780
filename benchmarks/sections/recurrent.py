"""A recurrent LIF layer: what is left of a neuron's speed with a product of matrices between any two steps."""

from dataclasses import replace

from benchmarks import allocator, bars
from benchmarks.bars import Bar
from benchmarks.case import BOTH, Size
from benchmarks.options import Options
from benchmarks.section import Records, Section, Step
from benchmarks.sections.libraries import contest, contest_bars, contest_tables
from benchmarks.table import Table
from benchmarks.workloads import JAX, OUR_COMPILE, OUR_LOOP, OURS, RECURRENT

PEERS = ("spikingjelly", "snntorch", "snntorch, Leaky", "norse", "norse, LIFBoxCell", "sinabs")
CONTESTANTS: tuple[str, ...] = (OURS, OUR_COMPILE, JAX, *PEERS, "eager loop", OUR_LOOP)

NOTE = "Median (minimum), and times ours. The gradients are those of the inputs and of the recurrent weights."


def _steps(options: Options) -> list[Step]:
    def step(size: Size, setting: str) -> Step:
        label = f"N = {size.N}, {setting}"
        return Step(label, lambda: contest(options, CONTESTANTS, RECURRENT, size, setting, (BOTH,)))

    sizes = [replace(options.sizes[0], N=N) for N in bars.RECURRENT_AT]
    return [step(size, setting) for size in sizes for setting in allocator.SETTINGS]


def _tables(records: Records) -> list[Table]:
    return [Table(t.title, t.header, t.rows, NOTE) for t in contest_tables(records, "Recurrent LIF")]


def _bars(records: Records) -> list[Bar]:
    limit = bars.RECURRENT_OVER_PEERS, bars.RECURRENT_OVER_JAX
    limits: dict[str, tuple[float, float]] = dict.fromkeys((allocator.KEPT, allocator.DEFAULT), limit)
    return contest_bars(records, "recurrent LIF", bars.RECURRENT_AT, PEERS, limits)


_CHECKS: dict[str, tuple[str, ...]] = dict.fromkeys(CONTESTANTS, (RECURRENT,))

SECTION = Section("recurrent", "A recurrent LIF layer", _CHECKS, _steps, _tables, _bars)
