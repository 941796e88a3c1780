"""``python -m spikingtorch verify``: every neuron, surrogate and reset rule against its twin, as a table."""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from spikingtorch import functional as F
from spikingtorch.verification.cases import CASES, COEFFICIENTS, MARGIN, RECURRENT, TWINS, Case, by_name
from spikingtorch.verification.functions import coefficient_errors, surrogate_errors
from spikingtorch.verification.trial import TOLERANCE, errors_by_backend

ALLOWED = TOLERANCE[torch.float64]
BACKENDS: tuple[F.Backend, ...] = ("loop", "fused")


class Row(NamedTuple):
    """Relative errors of one neuron, reset rule and backend, or of one function by itself.

    Attributes:
        neuron: name of the neuron, or of the function.
        rule: name of the reset rule.
        backend: what ran the scan; nothing for a function by itself.
        errors: the errors by column and quantity.
    """

    neuron: str
    rule: str
    backend: str
    errors: dict[str, dict[str, float]]

    def worst(self) -> tuple[float, str]:
        """Return the largest error, and where it is."""
        every = [(e, f"{quantity}, {column}") for column, q in self.errors.items() for quantity, e in q.items()]
        return max(every)


def neuron_rows(
    case: Case, reset: F.Reset | None, lengths: Sequence[int], backends: Sequence[F.Backend] = BACKENDS
) -> list[Row]:
    """Compare a neuron with its twin under one reset rule, for every surrogate and backend; a recurrent one for one.

    Raises:
        ValueError: the inputs drawn bring a membrane so near the threshold that rounding could decide.
    """
    nearest = min(case.margin(T, reset) for T in lengths)
    if nearest < MARGIN:
        raise ValueError(f"{case.name}: a membrane comes within {nearest:.1e} of the threshold; draw other inputs")
    names = {
        by_name(ours): (ours, twin) for ours, twin in (TWINS if case.spikes and case.weights is None else TWINS[:1])
    }
    trials = [case.trial(T, *pair, reset) for pair in names.values() for T in lengths]
    rule = by_name(reset) if case.resets else "built in"
    rows = []
    for backend, found in errors_by_backend(trials, backends).items():
        errors = iter(found)
        merged = {name: _largest([next(errors) for _ in lengths]) for name in names}
        rows.append(Row(case.name, rule, backend, merged if case.spikes else {"no spikes": merged["Sigmoid"]}))
    return rows


def _largest(errors: Iterable[dict[str, float]]) -> dict[str, float]:
    merged: dict[str, float] = {}
    for each in errors:
        for name, error in each.items():
            merged[name] = max(error, merged.get(name, 0.0))
    return merged


def rows(only: Sequence[str], lengths: Sequence[int]) -> Iterator[Row]:
    """Yield the rows of the table, functions by themselves first."""
    for ours, twin in TWINS:
        if not only or by_name(ours) in only:
            yield Row(by_name(ours), "", "", {"alone": surrogate_errors(ours, twin)})
    for function, its_twin in COEFFICIENTS:
        if not only or function.__name__ in only:
            yield Row(function.__name__, "", "", {"alone": coefficient_errors(function, its_twin)})
    for case in CASES:
        if not only or case.name in only:
            for rule in case.rules():
                yield from neuron_rows(case, rule, lengths)
    for case in RECURRENT:
        if not only or case.name in only:
            yield from neuron_rows(case, case.rules()[0], lengths)


def markdown(table: Sequence[Row]) -> str:
    """Return the table as a page."""
    columns = [by_name(ours) for ours, _ in TWINS]
    neurons = [row for row in table if "alone" not in row.errors]
    lines = [
        _PAGE.format(allowed=ALLOWED),
        "| neuron | reset | backend | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 3) + "|",
    ]
    for row in neurons:
        cells = [_cell(row.errors[column]) if column in row.errors else "" for column in columns]
        if "no spikes" in row.errors:
            cells[0] = _cell(row.errors["no spikes"]) + " (no surrogate)"
        lines.append(f"| {row.neuron} | {row.rule} | {row.backend} | " + " | ".join(cells) + " |")
    quantities = ["value", "primitive", "derivative", "second derivative", "gradient of the parameter"]
    lines += [
        "",
        "Surrogates and coefficients by themselves:",
        "",
        "| function | " + " | ".join(quantities) + " |",
        "|---" * (len(quantities) + 1) + "|",
    ]
    for row in (row for row in table if "alone" in row.errors):
        errors = row.errors["alone"]
        cells = [_cell({name: errors[name]}) if name in errors else "" for name in quantities]
        lines.append(f"| {row.neuron} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(errors: dict[str, float]) -> str:
    worst = max(errors.values())
    return f"{worst:.0e}" if worst <= ALLOWED else f"**{worst:.0e}**"


_PAGE = """# Verification

Every neuron, surrogate and reset rule on every backend, in torch against an independent implementation in JAX that was
written from the equations. A cell is the largest relative deviation, `max|a - b| / max|b|`, over the outputs, the final
state, and the gradients of inputs, initial state and every parameter, by random cotangents on all outputs and the final
state, in float64, 17 steps, 8 neurons with parameters of their own. A neuron with the name of a synapse behind it is
recurrent, its weights among the parameters. Allowed is {allowed:g}.

Written by `python -m spikingtorch verify --write docs/verification.md`.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the verification and return the exit code: 1 if any cell is out of tolerance."""
    parser = argparse.ArgumentParser(prog="python -m spikingtorch verify", description=__doc__)
    names = [by_name(thing) for thing in (*CASES, *RECURRENT, *(ours for ours, _ in (*TWINS, *COEFFICIENTS)))]
    parser.add_argument(
        "--only", nargs="+", choices=names, default=[], metavar="NAME", help=f"some of: {', '.join(names)}"
    )
    parser.add_argument("--write", type=Path, help="write the whole table to this Markdown file")
    options = parser.parse_args(arguments)
    if options.write and options.only:
        parser.error("--write takes the whole table; leave --only out")
    table = _run(options.only)
    wrong = [row for row in table if not row.worst()[0] <= ALLOWED]
    cells = sum(len(row.errors) for row in table)
    if options.write:
        options.write.write_text(markdown(table))
        print(f"Written to {options.write}.")
    print(f"{cells} cells in {len(table)} rows; {len(wrong)} rows out of tolerance ({ALLOWED:g}).")
    return 1 if wrong else 0


def _run(only: Sequence[str]) -> list[Row]:
    from tqdm import tqdm

    table = []
    total = sum(not only or by_name(ours) in only for ours, _ in (*TWINS, *COEFFICIENTS))
    total += sum(len(BACKENDS) * len(case.rules()) for case in CASES if not only or case.name in only)
    total += sum(len(BACKENDS) for case in RECURRENT if not only or case.name in only)
    with tqdm(total=total, unit="row", leave=False, disable=None) as bar:
        bar.write(f"{'':26} {'reset':24} {'backend':7} {'error':>9}   largest in")
        for row in rows(only, lengths=(17,)):
            error, where = row.worst()
            mark = "" if error <= ALLOWED else "   OUT OF TOLERANCE"
            bar.write(f"{row.neuron:26} {row.rule:24} {row.backend:7} {error:9.1e}   {where}{mark}")
            table.append(row)
            bar.update()
    return table
