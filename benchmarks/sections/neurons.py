"""Other neurons, one of them written as a user would, against the loop and against JAX."""

from benchmarks import allocator
from benchmarks.case import Size
from benchmarks.options import Options
from benchmarks.section import Records, Section, Step, distinct, select
from benchmarks.sections.libraries import contest, contest_tables
from benchmarks.table import Table
from benchmarks.workloads import JAX, OUR_LOOP, OURS

CONTESTANTS = {
    "if": (OURS, OUR_LOOP),
    "biolif": (OURS, OUR_LOOP),
    "adaptive": (OURS, JAX, OUR_LOOP),
}

TITLES = {
    "if": "IF",
    "biolif": "BioLIF, two inputs",
    "adaptive": "adaptive neuron with three states, written in neurons.py",
}


def _steps(options: Options) -> list[Step]:
    def step(neuron: str, size: Size, setting: str) -> Step:
        label = f"{neuron}, N = {size.N}, {setting}"
        return Step(label, lambda: contest(options, CONTESTANTS[neuron], neuron, size, setting))

    return [step(n, size, setting) for n in CONTESTANTS for size in options.sizes for setting in allocator.SETTINGS]


def _tables(records: Records) -> list[Table]:
    tables = []
    for neuron in distinct(records, "model"):
        tables += contest_tables(select(records, model=neuron), TITLES[neuron])
    return tables


_CHECKS = {OURS: tuple(CONTESTANTS), JAX: ("adaptive",)}

SECTION = Section("neurons", "Other neurons", _CHECKS, _steps, _tables)
