"""Runs the checks, then every section, and ends with the bars; see README.md."""

import sys
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from benchmarks import bars, launch, report
from benchmarks.options import Options, parse
from benchmarks.section import Records, Section
from benchmarks.sections import SECTIONS


def run_checks(options: Options, sections: Sequence[Section]) -> list[dict[str, Any]]:
    """Check every implementation that the sections will time.

    An entry with "error" is a failure; one with "unavailable" tells of what is not there to be timed.
    """
    wanted: dict[str, dict[str, None]] = {}
    for section in sections:
        for implementation, models in section.checks.items():
            wanted.setdefault(implementation, {}).update(dict.fromkeys(models))
    results = []
    for implementation, names in tqdm(wanted.items(), desc="equality checks", leave=False):
        found = launch.run(options, "check", implementation=implementation, models=list(names))
        results += [{"implementation": implementation, "model": n} | r for n, r in zip(names, found, strict=True)]
    return results


def run_section(options: Options, section: Section) -> Records:
    """Measure all of a section."""
    records: list[dict[str, Any]] = []
    with tqdm(section.steps(options), leave=False) as steps:
        for step in steps:
            steps.set_description(f"{section.title}: {step.label}")
            records += step.measure()
    return records


def main() -> int:
    """Run what the command line asks for; return 1 if nothing was timed because a check failed."""
    options = parse(list(SECTIONS))
    sections = [SECTIONS[name] for name in options.only or SECTIONS]
    machine = launch.run(options, "machine")
    print(report.setup(machine, options))
    if float(machine["load before"]) > 0.5:
        print("Other processes are using this machine: what follows will be too slow, and noisy.\n", file=sys.stderr)
    checks = run_checks(options, sections)
    for missing in [check for check in checks if "unavailable" in check]:
        print(
            f"{missing['implementation']}, {missing['model']}: not measured, {missing['unavailable']}", file=sys.stderr
        )
    failures = [check for check in checks if "error" in check]
    for check in failures:
        print(f"{check['implementation']}, {check['model']}: {check['error']}", file=sys.stderr)
    if failures:
        print(f"{len(failures)} of {len(checks)} equality checks failed: nothing is timed.", file=sys.stderr)
        return 1
    print(f"All {sum('unavailable' not in check for check in checks)} equality checks passed.\n")
    found: dict[str, Records] = {}
    for section in sections:
        found[section.name] = run_section(options, section)
        print("\n".join(map(str, section.tables(found[section.name]))))
        report.write(options, machine, checks, found)
    print(bars.summary(report.all_bars(found)))
    print(f"Written to {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
