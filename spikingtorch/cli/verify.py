"""``python -m spikingtorch verify``: compare every neuron, surrogate and reset rule with its twin, as a table."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from spikingtorch.cli import CommandError
from spikingtorch.cli.own_step import verify_step
from spikingtorch.functional.fused.build.cache import PROGRAMS, cache_dir, open_folder
from spikingtorch.functional.fused.build.private_dir import FolderError
from spikingtorch.verification.cases import CASES, COEFFICIENTS, RECURRENT, TWINS, WRAPPED, by_name
from spikingtorch.verification.cells import (
    ALLOWED,
    ALONE,
    BACKENDS,
    TOGETHER,
    Cell,
    Choice,
    alone,
    coefficient_errors,
    every_choice,
    measured,
    neuron_of,
)
from spikingtorch.verification.page import HEAD, Line, lines, markdown

LENGTH = 17
# the largest size of compiled twins on disk, in megabytes; the twins of one table take five
_MAX_MEGABYTES = 64


def cells(only: Sequence[str] = (), whole: bool = False) -> Iterator[list[Cell]]:
    """Yield the cells of the table by parts, functions by themselves first."""
    for ours, twin in TWINS:
        if not only or by_name(ours) in only:
            yield [Cell(by_name(ours), ALONE, "", "", alone(ours, twin))]
    for function, its_twin in COEFFICIENTS:
        if not only or by_name(function) in only:
            yield [Cell(by_name(function), ALONE, "", "", coefficient_errors(function, its_twin))]
    chosen = _chosen(only, whole)
    for start in range(0, len(chosen), TOGETHER):
        yield measured(chosen[start : start + TOGETHER], (LENGTH,))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the verification and return the exit code: 1 if any cell is out of tolerance."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.write and (options.only or options.mine):
        parser.error("--write takes the whole table; leave --only and --mine out")
    if options.mine:
        try:
            return verify_step(options.mine)
        except CommandError as error:
            parser.error(str(error))
    keep_programs()
    table = _run(options.only, options.all)
    wrong = [line for line in table if line.is_wrong()]
    if options.write:
        options.write.write_text(markdown(table))
        print(f"Written to {options.write}.")
    count = sum(line.compared() for line in table)
    print(f"{count} cells in {len(table)} lines; {len(wrong)} lines out of tolerance ({ALLOWED:g}).")
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m spikingtorch verify", description=__doc__)
    names = [by_name(each) for each in (*CASES, *WRAPPED, *RECURRENT, *(ours for ours, _ in (*TWINS, *COEFFICIENTS)))]
    parser.add_argument(
        "--only", nargs="+", choices=names, default=[], metavar="NAME", help=f"some of: {', '.join(names)}"
    )
    parser.add_argument(
        "--all", action="store_true", help="every combination, in place of a cover of all pairs; takes some minutes"
    )
    parser.add_argument("--write", type=Path, help="write the whole table to this Markdown file")
    parser.add_argument(
        "--mine",
        metavar="MODULE:STEP",
        help="check your own step against STEP_twin if the module has it, else by finite differences. STEP_state "
        "in the module may be the type of its state, and STEP_params a dict of its parameters",
    )
    return parser


def keep_programs() -> None:
    """Keep the compiled twins on the disk, beside the kernels: compiling them takes most of the time."""
    import jax

    folder = cache_dir() / PROGRAMS
    try:
        open_folder(folder).close()
    except FolderError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))  # type: ignore[no-untyped-call]
    jax.config.update("jax_compilation_cache_max_size", _MAX_MEGABYTES * 10**6)  # type: ignore[no-untyped-call]
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)  # type: ignore[no-untyped-call]
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # type: ignore[no-untyped-call]


def _chosen(only: Sequence[str], whole: bool) -> list[Choice]:
    return [choice for choice in every_choice(whole) if not only or choice.case.name in only]


def _run(only: Sequence[str], whole: bool) -> list[Line]:
    """Measure the cells, and print the line of a neuron as soon as its last cell is measured."""
    from tqdm import tqdm

    chosen = _chosen(only, whole)
    names = [name for name in (by_name(ours) for ours, _ in (*TWINS, *COEFFICIENTS)) if not only or name in only]
    awaited = dict.fromkeys(names, 1)
    for choice in chosen:
        name = neuron_of(choice.case.name)
        awaited[name] = awaited.get(name, 0) + len(BACKENDS)
    found: list[Cell] = []
    with tqdm(total=sum(awaited.values()), unit="cell", leave=False, disable=None) as bar:
        bar.write(HEAD)
        for part in cells(only, whole):
            found += part
            bar.update(len(part))
            arrived = {neuron_of(cell.neuron) for cell in part}
            for line in lines(cell for cell in found if neuron_of(cell.neuron) in arrived):
                if len(line.cells) == awaited[line.name]:
                    bar.write(str(line))
    return lines(found)
