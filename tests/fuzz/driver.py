"""Rounds of random cases, each seed another one, for a time; after a failure, the smallest case that fails.

Rounds run in a process of their own, because a wrong kernel can crash it. The first round that fails runs again, each
case in a fork of its own, while hypothesis looks for the smallest one that fails. The exit code is 1 then.
"""

import argparse
import importlib
import itertools
import os
import shlex
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, NamedTuple

import hypothesis
import torch
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st
from tqdm import tqdm

from spikingtorch import functional as F

# kernels stay loaded as long as their process lives
ROUNDS_OF_A_PROCESS = 30
UNHURRIED = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)


class Fuzzer(NamedTuple):
    module: str  # which has it under the name FUZZER, and all that a printed case is made of
    cases: st.SearchStrategy[Any]
    check: Callable[[Any, Counter[str]], None]  # raises for a case that is wrong, and counts what it saw
    threads: int  # of torch
    size: int = 40  # cases of a round

    def command(self, case: Any) -> str:
        """Return what runs a case again."""
        return f"python -m {self.module} --case {shlex.quote(repr(case))}"


def explore(fuzzer: Fuzzer, seed: int, test: Callable[[Any], None], *phases: Phase) -> None:
    """Test the random cases of a seed."""
    options = hypothesis.settings(
        max_examples=fuzzer.size,
        phases=[Phase.generate, *phases],
        database=None,
        deadline=None,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=UNHURRIED,
    )
    hypothesis.seed(seed)(options(given(fuzzer.cases)(test)))()


def counted(fuzzer: Fuzzer, seed: int) -> Counter[str]:
    """Run a round, and return its counts."""
    counts: Counter[str] = Counter()

    def test(case: Any) -> None:
        try:
            fuzzer.check(case, counts)
        except Exception as error:
            error.add_note(fuzzer.command(case))
            raise
        counts["cases"] += 1

    explore(fuzzer, seed, test)
    return counts


def told(work: Callable[..., Any], *arguments: Any) -> Any:
    """Return what somebody gives, or the text of the exception that it raises."""
    try:
        return work(*arguments)
    except Exception:
        return traceback.format_exc()[-30000:]


def round_of(module: str, seed: int) -> Any:
    fuzzer: Fuzzer = importlib.import_module(module).FUZZER
    torch.set_num_threads(fuzzer.threads)
    return told(counted, fuzzer, seed)


def watch(fuzzer: Fuzzer, first: int, minutes: float) -> tuple[Counter[str], int | None]:
    """Run rounds in processes of their own; return the counts, and the seed of the round that failed."""
    counts, end = Counter[str](), time.monotonic() + 60 * minutes
    process: Any = {"mp_context": get_context("spawn"), "max_tasks_per_child": ROUNDS_OF_A_PROCESS}
    with ProcessPoolExecutor(1, **process) as pool, tqdm(unit="case", disable=None) as bar:
        for seed in itertools.count(first):
            found = told(pool.submit(round_of, fuzzer.module, seed).result)
            if isinstance(found, str):
                bar.write(f"{found}\nThe round of seed {seed} failed.")
                return counts, seed
            counts.update(found)
            bar.update(counts["cases"] - bar.n)
            bar.set_postfix_str(f"seed {seed}")
            if time.monotonic() > end:
                break
    return counts, None


def smallest(fuzzer: Fuzzer, seed: int) -> str:
    """Return what is wrong with the smallest case that fails in the round of a seed."""
    found = ["By itself, each case of this round is right: it fails only after the ones before it."]
    # what the first call of scan imports would take each forked process longer than its test
    torch.func.vmap(lambda x: F.scan(F.if_step, F.IFState(torch.zeros(2)), x))(torch.rand(2, 3, 2))

    def isolated(case: Any) -> None:
        with ProcessPoolExecutor(1, get_context("fork")) as pool:
            wrong = told(pool.submit(told, fuzzer.check, case, Counter[str]()).result)
        if wrong is not None:
            found[:] = [wrong, fuzzer.command(case)]
            raise AssertionError(wrong.splitlines()[-1])

    told(explore, fuzzer, seed, isolated, Phase.shrink)
    return "\n".join(found)


def main(fuzzer: Fuzzer, description: str | None) -> int:
    """Run for some minutes, or one case, and return the exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m {fuzzer.module}", description=description)
    parser.add_argument("--minutes", type=float, default=0.0, help="how long; 0 is one round")
    parser.add_argument("--seed", type=int, default=0, help="of the first round; each further round has the next")
    parser.add_argument("--case", help="what a failure printed")
    chosen = parser.parse_args()
    torch.set_num_threads(fuzzer.threads)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["SPIKINGTORCH_CACHE_DIR"] = cache
        if chosen.case is not None:
            fuzzer.check(eval(chosen.case, vars(importlib.import_module(fuzzer.module))), Counter())
            print("passed")
            return 0
        counts, failed = watch(fuzzer, chosen.seed, chosen.minutes)
        for name, count in sorted(counts.items()):
            print(f"{count:10,}  {name}")
        if failed is not None:
            print(smallest(fuzzer, failed), f"python -m {fuzzer.module} --seed {failed}", sep="\n")
    return failed is not None
