"""Writes what was found, as Markdown to read and as JSON to compute with."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import bars
from benchmarks.bars import Bar
from benchmarks.launch import SWEEPS
from benchmarks.options import Options
from benchmarks.section import Records
from benchmarks.sections import SECTIONS
from benchmarks.table import Table


def all_bars(found: Mapping[str, Records]) -> list[Bar]:
    """Return the bars of every section that has run."""
    return [bar for name, records in found.items() for bar in SECTIONS[name].bars(records)]


def setup(machine: Mapping[str, str], options: Options) -> Table:
    """Return the table of what everything was measured with."""
    facts = dict(machine) | {
        "backend under test": options.backend,
        "timed calls": f"{options.repetitions} in a process"
        + ("" if options.quick else f", the fast ones in {SWEEPS}"),
        "budget of a case": f"{options.budget:.0f} s",
    }
    return Table("Setup", ["", "value"], [[key, text] for key, text in facts.items()])


def write(options: Options, machine: Mapping[str, str], checks: Sequence[Any], found: Mapping[str, Records]) -> None:
    """Write the two files; called after every section, so that an interrupted run leaves what it has.

    Args:
        options: the command line; a partial or quick run has files of its own and leaves those of a full run alone.
        machine: what ``machine.describe`` found.
        checks: results of the equality checks.
        found: records by section.
    """
    options.output.mkdir(parents=True, exist_ok=True)
    stem = "quick" if options.quick else "partial" if options.only else "full"
    chosen = {"backend": options.backend, "threads": options.threads, "budget": options.budget}
    data = {"machine": dict(machine), "options": chosen, "checks": list(checks), "sections": dict(found)}
    (options.output / f"{stem}.json").write_text(json.dumps(data, indent=1) + "\n")
    text = ["# Benchmarks", "", str(setup(machine, options))]
    for name, records in found.items():
        text += [f"## {SECTIONS[name].title}", "", *map(str, SECTIONS[name].tables(records))]
    text += ["## Summary", "", str(bars.summary(all_bars(found)))]
    (options.output / f"{stem}.md").write_text("\n".join(text))
