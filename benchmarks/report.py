"""From results to tables, which read well in a terminal and as Markdown, to verdicts on the bars, and to pages."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.launch import STARTS, Options
from benchmarks.suite import DIFFERENCE, FIRST_CALL, MEMORY, TIME, Bar, Case, Result, Suite

# the entries that tell tables or bars apart, unless they tell rows or columns apart
ENTRIES = ("model", "mode", "setting", "T", "B", "N")


class Quantity(NamedTuple):
    """What a table shows: of a kind of results, from a case, and seconds or bytes."""

    kind: str
    of: Callable[[Case, float], float]
    more_is_better: bool = False


QUANTITIES = {
    "milliseconds": Quantity(TIME, lambda _, seconds: 1e3 * seconds),
    "microseconds": Quantity(TIME, lambda _, seconds: 1e6 * seconds),
    "microseconds a step": Quantity(TIME, lambda case, seconds: 1e6 * seconds / case.size.T),
    "nanoseconds a neuron-step": Quantity(TIME, lambda case, seconds: 1e9 * seconds / math.prod(case.size)),
    "calls a second": Quantity(TIME, lambda _, seconds: 1.0 / seconds, True),
    "images a second": Quantity(TIME, lambda c, s: c.size.B * c.batches / s, True),
    # an addition moves three tensors; LIF five that no implementation can avoid: x twice, the spikes, two gradients
    "GB a second": Quantity(TIME, lambda c, s: (5 if c.model == "lif" else 3) * 4e-9 * math.prod(c.size) / s, True),
    "seconds": Quantity(FIRST_CALL, lambda _, seconds: seconds),
    "millionths": Quantity(DIFFERENCE, lambda _, difference: 1e6 * difference),
    "MB": Quantity(MEMORY, lambda _, count: count / 1e6),
    "kB a step": Quantity(MEMORY, lambda case, count: count / 1e3 / case.size.T),
    "tensors of the size of the input": Quantity(MEMORY, lambda case, count: count / 4 / math.prod(case.size)),
}

SHORT = {"seconds": "s"}


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as Markdown with aligned columns; the first column is text, the others are numbers."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    sides = [str.ljust] + [str.rjust] * (len(widths) - 1)
    aligned = [[f(text, width) for f, text, width in zip(sides, line, widths, strict=True)] for line in lines]
    return "\n".join([f"### {title}", "", *(f"| {' | '.join(line)} |" for line in aligned), ""])


def number(value: float) -> str:
    """Return a number with three digits or more."""
    size = abs(value)
    return f"{value:.{0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 4}f}"


def _named(key: str, value: Any) -> str:
    return f"{key} = {value}" if key in ("T", "B", "N") else str(value)


def _label(keys: Sequence[str], values: Sequence[Any]) -> str:
    return ", ".join(filter(None, map(_named, keys, values)))


def _grouped(results: Iterable[Result], keys: Sequence[str]) -> dict[tuple[Any, ...], list[Result]]:
    """Return the results by some of their entries, in order of first appearance."""
    found: dict[tuple[Any, ...], list[Result]] = {}
    for result in results:
        found.setdefault(tuple(result.entry(key) for key in keys), []).append(result)
    return found


def _apart(results: Sequence[Result], quantity: Quantity, without: Sequence[str]) -> Iterable[tuple[str, list[Result]]]:
    """Yield results that a table or a bar is about, named by all that they share."""
    keys = [key for key in ENTRIES if key not in without]
    for values, group in _grouped([result for result in results if result.kind == quantity.kind], keys).items():
        yield _label(keys, values), group


def tables(suite: Suite, results: Sequence[Result]) -> Iterable[str]:
    """Yield the tables of a suite."""
    for name, row_key, column_keys, across in suite.layouts:
        quantity = QUANTITIES[name]
        for shared, group in _apart(results, quantity, [row_key, *column_keys]):
            columns, rows = _grouped(group, column_keys), _grouped(group, [row_key])
            by_row = [{result.entry(row_key): result for result in column} for column in columns.values()]
            first = next(iter(rows))[0]
            lines = []
            for (row,) in rows:
                firsts = [by_row[0].get(row) if across else column.get(first) for column in by_row]
                cells = [_cell(each.get(row), one, quantity) for each, one in zip(by_row, firsts, strict=True)]
                lines.append([_named(row_key, row), *cells])
            header = ["", *(_label(column_keys, column) for column in columns)]
            yield table(f"{name}: {shared}", header, lines)


def _cell(result: Result | None, first: Result | None, quantity: Quantity) -> str:
    """Return the median, in brackets the best sample, and the multiple of the first one."""
    if result is None or not result.samples:
        return result.note if result else ""
    text = number(value := quantity.of(result.case, median(result.samples)))
    if len(result.samples) > 1:
        text += f" ({number(quantity.of(result.case, min(result.samples)))})"
    text += f", {result.note}" if result.note else ""
    if first is result:
        return f"{text} {'':7}"
    base = quantity.of(first.case, median(first.samples)) if first and first.samples else math.nan
    return f"{text} {f'{value / base:.2f}x' if base else '':>7}"


class Verdict(NamedTuple):
    """What came of a bar at one size and setting."""

    bar: str
    where: str
    value: float
    unit: str
    limit: str
    word: str


def verdicts(name: str, suite: Suite, results: Sequence[Result]) -> Iterable[Verdict]:
    """Yield the verdicts for each size and setting that a bar of the suite is about."""
    for bar in suite.bars:
        quantity = QUANTITIES[bar.quantity]
        meant = [result for result in results if all(result.entry(k) in values for k, values in bar.where.items())]
        for shared, group in _apart(meant, quantity, [bar.key, bar.across]):
            parts = _grouped(group, [bar.across]).values() if bar.across else [group]
            value, at_least = median([_value(bar, part, quantity) for part in parts]), quantity.more_is_better
            word = "pass" if (value >= bar.limit if at_least else value <= bar.limit) else "FAIL"
            unit = "x" if bar.over else f" {SHORT.get(bar.quantity, bar.quantity)}"
            allowed = f"{'≥' if at_least else '≤'} {bar.limit:.3g}{unit}"
            yield Verdict(
                f"{name}: {bar.text}", shared, value, unit, allowed, "not measured" if math.isnan(value) else word
            )


def _value(bar: Bar, results: Sequence[Result], quantity: Quantity) -> float:
    """Return the value that a bar limits, NaN if it could not be measured."""
    there = [result for result in results if result.samples]
    measured = {result.entry(bar.key): quantity.of(result.case, median(result.samples)) for result in there}
    of, over = ([measured[row] for row in rows if row in measured] for rows in (bar.of, bar.over))
    if not of or bool(over) != bool(bar.over) or (bar.worst and len(of) < len(bar.of)):
        return math.nan
    best, worst = (max, min) if quantity.more_is_better else (min, max)
    return (worst if bar.worst else best)(of) / (best(over) if over else 1.0)


def summary(found: Sequence[Verdict]) -> str:
    """Return a table of the verdicts: what a bar refuses case by case, and its passes by the range of their values."""
    cases: dict[Any, list[Verdict]] = {}
    for each in found:
        cases.setdefault((each.bar, each.limit, each.word, "" if each.word == "pass" else each.where), []).append(each)
    rows = []
    for (bar, limit, word, _), alike in cases.items():
        where = alike[0].where if len(alike) == 1 else f"{len(alike)} cases"
        ends = dict.fromkeys(f"{end(each.value for each in alike):.3g}{alike[0].unit}" for end in (min, max))
        rows.append([f"{bar}, {where}", " to ".join(ends), limit, word])
    words = [each.word for each in found]
    title = f"Bars: {words.count('pass')} passed, {words.count('FAIL')} failed"
    return table(title, ["bar", "reached", "limit", "verdict"], rows)


def facts(machine: Mapping[str, str], options: Options) -> dict[str, str]:
    """Return what everything was measured with."""
    samples = f"{options.repetitions} in a process{'' if options.quick else f', of the fast ones in {STARTS}'}"
    own = {"backend under test": options.backend, "samples": samples, "budget of a case": f"{options.budget:.0f} s"}
    return {**machine, **own}


def setup(machine: Mapping[str, str], options: Options) -> str:
    """Return the table of what everything was measured with."""
    return table("Setup", ["", "value"], [[key, text] for key, text in facts(machine, options).items()])


def setups(folder: Path, facts: Mapping[str, str]) -> str:
    """Return the page of what those in a folder were measured with: a column for each run that one of them names."""
    page, own = folder / "setup.md", {"" if key == "date" else key: text for key, text in facts.items()}
    lines = page.read_text().splitlines() if page.is_file() else []
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")]
    (names, *columns) = zip(*rows[:1], *rows[2:], strict=True) if rows else [()]
    runs = {column[0]: dict(zip(names, column, strict=True)) for column in columns} | {own[""]: own}
    texts = [path.read_text() for path in folder.glob("*.md") if path != page]
    kept = [runs[date] for date in sorted(runs) if any(date in text for text in texts)]
    keys = dict.fromkeys(key for run in kept[::-1] for key in run)
    header, *found = [[key, *(run.get(key, "") for run in kept)] for key in keys]
    return f"# What the other pages were measured with\n\n{table('Runs', header, found)}"


def write(options: Options, machine: Mapping[str, str], name: str, suite: Suite, results: Sequence[Result]) -> None:
    """Write the page of a suite and that of the setups, and the results as JSON beside them."""
    options.output.mkdir(parents=True, exist_ok=True)
    first = "column" if suite.layouts[0].across else "row"
    about = f"Medians, in brackets the fastest call or the least memory, and multiples of the first {first} of a table."
    parts = [f"# {suite.title}\n\n{about}\n[Measured with](setup.md): {machine['date']}.\n"]
    parts += [*tables(suite, results)]
    parts += [summary(list(verdicts(name, suite, results)))] if suite.bars else []
    (options.output / f"{name}.md").write_text("\n".join(parts))
    (options.output / "setup.md").write_text(setups(options.output, facts(machine, options)))
    data = {"machine": dict(machine), "results": [asdict(result) for result in results]}
    (options.output / f"{name}.json").write_text(json.dumps(data) + "\n")
