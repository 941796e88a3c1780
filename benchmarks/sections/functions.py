"""What exp, tanh, sin and their like cost inside a step, against LIF with the same streams."""

from benchmarks import allocator, bars, launch
from benchmarks.bars import Bar
from benchmarks.case import Case
from benchmarks.options import Options
from benchmarks.section import Record, Records, Section, Step, distinct, select, size_text, timing, timing_records
from benchmarks.table import Table, milliseconds, times
from benchmarks.workloads import OURS

# names of neurons.SMOOTH and neurons.HARD, which this process does not import: it would import torch
ONE = ("exp", "tanh", "sigmoid")
THREE = (*(f"{name}, 3 states" for name in ONE), "exp + tanh + sigmoid, 3 states")
SMOOTH = ONE + THREE
HARD = ("sin", "cos", "pow", "erf", "log")
N = 2048


def _steps(options: Options) -> list[Step]:
    def measure(setting: str) -> list[Record]:
        # one process, in turns: what counts is the ratio
        group = [Case(OURS, options.size(N), model=name) for name in ("lif", *SMOOTH, *HARD)]
        return timing_records(launch.time_side_by_side(options, [[group]], setting), setting)

    def step(setting: str) -> Step:
        return Step(setting, lambda: measure(setting))

    return [step(setting) for setting in allocator.SETTINGS]


def _ratio(records: Records, name: str) -> float:
    return timing(records, model=name).median / timing(records, model="lif").median


def _tables(records: Records) -> list[Table]:
    tables = []
    for setting in distinct(records, "allocator"):
        here = select(records, allocator=setting)
        names = ("lif", *SMOOTH, *HARD)
        rows = [[name, milliseconds(timing(here, model=name)), times(_ratio(here, name))] for name in names]
        title = f"Functions inside a step, forward + backward, {setting}: {size_text(here)}, N = {N}"
        tables.append(Table(title, ["", "milliseconds", "times LIF"], rows, "Median (minimum)."))
    return tables


def _bars(records: Records) -> list[Bar]:
    found = []
    for setting in distinct(records, "allocator"):
        here = select(records, allocator=setting)
        smooth, hard = (max(_ratio(here, name) for name in names) for names in (SMOOTH, HARD))
        found += [
            Bar(f"exp, tanh, sigmoid, {setting}: dearest over LIF", smooth, bars.SMOOTH_FUNCTIONS),
            Bar(f"sin, cos, pow, erf, log, {setting}: dearest over LIF", hard, bars.HARD_FUNCTIONS),
        ]
    return found


SECTION = Section("functions", "Functions inside a step", {OURS: ("lif", *SMOOTH, *HARD)}, _steps, _tables, _bars)
