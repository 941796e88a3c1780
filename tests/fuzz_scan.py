"""Random steps, called at random: scan is its loop, or raises.

A short run, the same one each time, is a test. For hours, with others each time,

    python -m tests.fuzz_scan --minutes 60 --seed 1

It goes from seed to seed, each a round of random steps with some calls each. The rounds run in a process of their own,
because a wrong kernel can crash it. The first round that fails runs again, each step in a fork of its own, while
hypothesis looks for the smallest one that fails. The exit code is 1 then.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import hypothesis
import torch
from hypothesis import HealthCheck, Phase, given
from tqdm import tqdm

from tests.fuzz_calls import Call, calls
from tests.fuzz_check import COUNTS, check, check_unchanged
from tests.fuzz_modes import Case
from tests.fuzz_oracle import Answer
from tests.fuzz_source import Built
from tests.fuzz_steps import Line, Step, steps

ROUND = 40
UNHURRIED = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
# kernels stay loaded as long as their process lives
LIFE = 600.0


def run(step: Step, calls: list[Call]) -> None:
    """Assert that all calls of a step are right, and that the results of each stay what they are in the later ones."""
    built = Built(step)
    kept: list[Answer] = []
    try:
        for call in calls:
            with _quiet(call.default):
                check(Case(step, built, call), kept)
        for answer in kept:
            check_unchanged(answer.leaves, answer.values, "a later call")
    except Exception as error:
        error.add_note(f"{built.source}\n# numbers, to be multiplied by the factor: {built.constants}")
        raise
    COUNTS.update({"cases": 1, "calls": len(calls)})


@contextmanager
def _quiet(default: str) -> Iterator[None]:
    """Set torch's default dtype, and expect to be told that a step takes the loop."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, default))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "scan: .* ran on the Python loop", RuntimeWarning)
            yield
    finally:
        torch.set_default_dtype(before)


def isolated(step: Step, calls: list[Call]) -> None:
    """Run in a forked process, so that a crash is one more way to fail."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        try:
            run(step, calls)
        except BaseException:
            os.write(writer, traceback.format_exc().encode()[-30000:])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        message = pipe.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if message or status:
        raise AssertionError(message or f"the process ended with {status}")


def warm_up() -> None:
    """Import what the first call of scan imports, which takes each forked process longer than its test."""
    line = Line("{a} + {b}", (0, 1, 0), 1.0)
    step = Step(
        ("float",),
        ("float",),
        0,
        0,
        False,
        (line,),
        ((0, False),),
        (("float", 0),),
        ("bare", "bare", "bare"),
        "literals",
    )
    modes = [
        Call("float64", (2,), 2, 0, ("plain",), (), "normal", k, 1.0, 127, "transform", "", "float32") for k in range(3)
    ]
    with suppress(Exception):
        run(step, modes)


def explore(seed: int, test: Callable[[Step, list[Call]], None], *, shrink: bool = False) -> None:
    """Test the random steps of a seed."""
    phases = [Phase.generate, *[Phase.shrink] * shrink]
    options = hypothesis.settings(
        max_examples=ROUND, phases=phases, database=None, deadline=None, suppress_health_check=UNHURRIED
    )
    hypothesis.seed(seed)(options(given(steps(), calls())(test)))()


def test_random_scans() -> None:
    COUNTS.clear()
    explore(0, run)
    print(dict(COUNTS))
    assert COUNTS["fused"] > COUNTS["calls"] / 2, COUNTS
    assert COUNTS["gradients compared"] > COUNTS["calls"], COUNTS


# --- for hours --------------------------------------------------------------------------------------------------------


def rounds(first: int, seconds: float) -> int:
    """Run rounds until the time is over, and say on a line each when one begins and what it did."""
    end = time.monotonic() + seconds
    for seed in itertools.count(first):
        print(json.dumps({"seed": seed}), flush=True)
        COUNTS.clear()
        try:
            explore(seed, run)
        except Exception:
            traceback.print_exc()
            return 1
        print(json.dumps({"counts": COUNTS}), flush=True)
        if time.monotonic() > end:
            return 0
    raise AssertionError("unreachable")


def watch(first: int, minutes: float) -> tuple[Counter[str], int | None]:
    """Run rounds in processes of their own; return the counts, and the seed of the round that failed."""
    counts: Counter[str] = Counter()
    seed, end = first - 1, time.monotonic() + 60 * minutes
    with tqdm(unit="case", disable=None) as bar:
        while not counts or time.monotonic() < end:
            life = max(0.0, min(LIFE, end - time.monotonic())) / 60
            command = [sys.executable, "-m", "tests.fuzz_scan", "--rounds-from", str(seed + 1), "--minutes", str(life)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                for line in process.stdout or ():
                    said = json.loads(line)
                    seed = said.get("seed", seed)
                    counts.update(said.get("counts", {}))
                    bar.update(counts["cases"] - bar.n)
                    bar.set_postfix_str(f"seed {seed}, {counts['calls']} calls, {counts['fused']} fused")
            if process.returncode:
                bar.write(f"The round of seed {seed} ended with {process.returncode}.")
                return counts, seed
    return counts, None


def main() -> int:
    """Run for some minutes, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_scan", description=__doc__)
    parser.add_argument("--minutes", type=float, default=0.0, help="how long; 0 is one round")
    parser.add_argument("--seed", type=int, default=0, help="of the first round; each further round has the next")
    parser.add_argument("--rounds-from", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.rounds_from is not None:
        return rounds(chosen.rounds_from, 60 * chosen.minutes)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["SPIKINGTORCH_CACHE_DIR"] = cache
        counts, failed = watch(chosen.seed, chosen.minutes)
        for name, count in sorted(counts.items()):
            print(f"{count:10,}  {name}")
        if failed is None:
            return 0
        warm_up()
        try:
            explore(failed, isolated, shrink=True)
        except Exception:
            traceback.print_exc()
        else:
            print("By itself, each step of this round is right: it fails only after the ones before it.")
    print(f"To see it again: python -m tests.fuzz_scan --seed {failed}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
