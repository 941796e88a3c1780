"""Change every place in the equations, one at a time, and count the changes that the verification does not see.

    python -m tests.verification.mutate                 all of them, in two processes
    python -m tests.verification.mutate torch firing    one side (torch, jax or c), the functions with this in the name

A change is a sign, a dropped term, another comparison or operation, swapped arguments, or a number one higher. The
side that is not changed keeps its results in memory. What lives and is not listed in ``equivalent`` is printed; the
exit code is 1 if less than GOAL of the mutants that change anything are caught.
"""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import NamedTuple

from tqdm import tqdm

from tests.verification.equivalent import SAME

GOAL = 0.95
# into how many parts the mutants of a side are divided, and how many checks a mutant meets at most
PARTS = {"torch": 1, "jax": 2, "c": 2}
MOST = {"torch": 400, "jax": 120, "c": 40}


class Result(NamedTuple):
    """The mutants of a part of a side, and those that no check has caught: the function, the change and the line."""

    total: int
    lived: list[tuple[str, str, str]]


def run(side: str, part: int, name: str = "") -> Result:
    """Run the checks on every mutant of a part of a side."""
    import torch

    from tests.verification.checks import checks
    from tests.verification.mutants import mutants

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if side == "c":
            os.environ["SPIKINGTORCH_CACHE_DIR"] = folder
        chosen = [each for each in mutants(side) if name in each.where][part :: PARTS[side]]
        known, lived, left_out = checks(side) if chosen else [], [], 0
        for mutant in chosen:
            reaching = [check for check in known if mutant.place in check.reached]
            try:
                restore = mutant.install()
            except ValueError:  # what is left of an inner function no longer needs the variable around it
                left_out += 1
                continue
            try:
                caught = any(check.fails() for check in reaching[: MOST[side]])
            finally:
                restore()
            if not caught:
                lived.append((mutant.where, mutant.what, mutant.line if reaching else f"not reached: {mutant.line}"))
    return Result(len(chosen) - left_out, lived)


def _results(sides: list[str], name: str) -> Iterator[Result]:
    context = multiprocessing.get_context("spawn")
    jobs = [(side, part) for side in sides for part in range(PARTS[side])]
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        futures = [pool.submit(run, side, part, name) for side, part in jobs]
        for done in tqdm(as_completed(futures), total=len(futures), unit="part", disable=None):
            yield done.result()


def main(arguments: list[str]) -> int:
    """Run all mutants, or those that the arguments name, print what lives, and return the exit code."""
    sides = [side for side in PARTS if side in arguments] or list(PARTS)
    names = [each for each in arguments if each not in PARTS]
    total, same, lived = 0, 0, []
    for result in _results(sides, names[0] if names else ""):
        total += result.total
        listed = [each for each in result.lived if each[1] in SAME.get(each[0], {})]
        same += len(listed)
        lived += [each for each in result.lived if each not in listed]
    for where, what, line in sorted(lived):
        print(f"lives: {where}: {what}    [{line}]")
    if not total:
        print(f"No mutants in functions named {names}.")
        return 2
    others = total - same
    caught = others - len(lived)
    print(f"{total} mutants, {same} of them equivalent; {caught} of {others} caught, {100 * caught / others:.1f} %.")
    return 0 if caught >= GOAL * others else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
