"""What a section of the benchmarks is; see sections/__init__.py for how to add one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from benchmarks.bars import Bar
from benchmarks.case import Case, Size, Timing
from benchmarks.options import Options
from benchmarks.table import Table

# one measurement, as it goes into the JSON file
Record: TypeAlias = dict[str, Any]
Records: TypeAlias = Sequence[Record]


@dataclass(frozen=True)
class Step:
    """One tick of the progress bar: a measurement to make when its turn comes."""

    label: str
    measure: Callable[[], Records]


@dataclass(frozen=True)
class Section:
    """A group of measurements with its tables and bars.

    Args:
        name: what --only calls it.
        title: heading of its tables.
        checks: the neurons or networks of each implementation that must pass their equality check first.
        steps: what there is to measure, in order.
        tables: from the records to tables.
        bars: from the records to bars.
    """

    name: str
    title: str
    checks: Mapping[str, Sequence[str]]
    steps: Callable[[Options], Sequence[Step]]
    tables: Callable[[Records], Sequence[Table]]
    bars: Callable[[Records], Sequence[Bar]] = lambda _: ()


def timing_records(timings: Mapping[Case, Timing], setting: str) -> list[Record]:
    """Return a record for each case."""
    records = []
    for case, timing in timings.items():
        flat = {key: value for key, value in asdict(case).items() if key != "size"} | asdict(case.size)
        records.append({"allocator": setting} | flat | asdict(timing) | {"median": timing.median, "best": timing.best})
    return records


def select(records: Records, **wanted: Any) -> list[Record]:
    """Return the records whose entries are as wanted."""
    return [record for record in records if all(record.get(key) == value for key, value in wanted.items())]


def timing(records: Records, **wanted: Any) -> Timing:
    """Return the timing of the one record that is wanted, without samples if there is none."""
    found = select(records, **wanted)
    if not found:
        return Timing()
    return Timing(tuple(found[0]["samples"]), found[0]["first"], found[0]["over_budget"])


def value(records: Records, key: str, **wanted: Any) -> float:
    """Return an entry of the one record that is wanted, NaN if there is none."""
    found = select(records, **wanted)
    return float(found[0][key]) if found else float("nan")


def distinct(records: Records, key: str) -> list[Any]:
    """Return the values of an entry, in order of first appearance."""
    return list(dict.fromkeys(record[key] for record in records))


def size_text(records: Records) -> str:
    """Return steps and batch of the records, which all share them."""
    return f"T = {records[0]['T']}, B = {records[0]['B']}"


def with_steps(size: Size, T: int) -> Size:
    """Return the size with another number of steps."""
    return Size(T=T, B=size.B, N=size.N)
