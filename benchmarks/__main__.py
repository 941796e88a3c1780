"""Runs the checks, then every suite, and ends with the bars; or compares checkouts, densities and more."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks import densities, launch, report, turns, watching
from benchmarks.launch import HERE, Options
from benchmarks.suite import Result, Suite
from benchmarks.suites import SUITES

_COMMANDS = ("turns", "densities", "watching")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    command = arguments[0] if arguments and arguments[0] in _COMMANDS else ""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {command}".rstrip(), description=__doc__)
    parser.set_defaults(command=command)
    if command == "turns":
        parser.add_argument("old", type=Path, help="the root of another checkout")
        parser.add_argument("--rounds", type=int, default=5, help="how often each side runs (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=list(SUITES), default=[], metavar="SUITE", help=", ".join(SUITES))
    parser.add_argument("--quick", action="store_true", help="small sizes, to try the harness")
    parser.add_argument("--backend", default="fused", help="backend of scan under test (%(default)s)")
    parser.add_argument("--threads", type=int, help="threads of every library (each library's own default)")
    parser.add_argument("--budget", type=float, default=15.0, help="seconds a case (%(default)s)")
    parser.add_argument("--output", type=Path, help="folder of the results (benchmarks/results)")
    return parser.parse_args(arguments[bool(command) :])


def measure(options: Options, suite: Suite) -> list[Result]:
    """Measure all of a suite."""
    results: list[Result] = []
    with tqdm(list(launch.steps(options, suite)), leave=False) as steps:
        for label, call in steps:
            steps.set_description(f"{suite.title}: {label}")
            results += call()
    return results


def main() -> int:
    """Run what the command line asks for; return 1 if nothing was timed because a check failed."""
    args = parse(sys.argv[1:])
    output = args.output or HERE / "results" / ("quick" if args.quick else "")
    options = Options(args.backend, args.only, args.quick, args.threads, args.budget, output, 3 if args.quick else 7)
    if args.command == "turns":
        return turns.compare(options, args.old, args.rounds)
    machine = launch.run("machine", options)
    print(report.setup(machine, options))
    if float(machine["load before"]) > 0.5:
        print("Other processes are using this machine: what follows will be too slow, and noisy.\n", file=sys.stderr)
    if args.command:
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        return densities.compare(options, machine) if args.command == "densities" else watching.compare(options)
    suites = {name: suite for name, suite in SUITES.items() if not options.only or name in options.only}
    cases = [case for suite in suites.values() for size in suite.sizes for case in suite.cases(size)]
    if red := launch.check(options, cases):
        print(f"{len(red)} equality checks failed: nothing is timed.", file=sys.stderr)
        return 1
    verdicts: list[report.Verdict] = []
    for name, suite in suites.items():
        results = measure(options.of(suite), suite)
        print("\n".join([f"## {suite.title}\n", *report.tables(suite, results)]))
        report.write(options, machine, name, suite, results)
        verdicts += report.verdicts(name, suite, results)
    print(report.summary(verdicts))
    print(f"Written to {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
