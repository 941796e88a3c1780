"""Random networks, called in random ways: mode "auto" gives the numbers and gradients of mode "step".

A short run is part of the tests. For a longer one, of other networks,

    python -m tests.fuzz_networks --minutes 60 --seed 1

prints counts at its end. On a failure it prints the smallest case that it finds, with a command that runs it again.
"""

import argparse
import shlex
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from tqdm import tqdm

from tests.fuzz_network_changes import Change
from tests.fuzz_network_inputs import Run
from tests.fuzz_network_layers import Neuron
from tests.fuzz_network_oracle import Case, check
from tests.fuzz_network_recipes import Block, Network, build
from tests.fuzz_network_strategies import cases

SETTINGS = settings(
    deadline=None,
    database=None,
    print_blob=False,
    report_multiple_bugs=False,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much),
)
# what a printed case is made of
NAMES = {kind.__name__: kind for kind in (Block, Case, Change, Network, Neuron, Run)}


@pytest.mark.usefixtures("one_thread")
@settings(SETTINGS, max_examples=60, derandomize=True)
@given(case=cases())
def test_random_networks(case: Case) -> None:
    try:
        check(case, Counter())
    except Exception as error:
        error.add_note(command(case))
        raise


def command(case: Case) -> str:
    """Return what runs a case again."""
    return f"python -m tests.fuzz_networks --case {shlex.quote(repr(case))}"


class Failure(NamedTuple):
    """A case that failed, and how."""

    case: Case
    text: str

    def __str__(self) -> str:
        model = build(self.case.network, self.case.seed)
        return "\n".join(map(str, ["", self.text, model, *self.case.events, "", command(self.case)]))


class Search:
    """Looks for a case that fails, for a time.

    Args:
        minutes: how long.
    """

    def __init__(self, minutes: float) -> None:
        self.counts: Counter[str] = Counter()
        self.failures: list[Failure] = []
        self.running = Path(tempfile.mkdtemp(prefix="fuzz-networks-")) / "running"
        self._seconds = 60 * minutes
        self._start = time.monotonic()
        self._bar = tqdm(total=round(self._seconds), unit="s")

    @property
    def _since(self) -> float:
        return time.monotonic() - self._start

    @property
    def over(self) -> bool:
        return bool(self.failures) or self._since > self._seconds

    def run(self, seed: int) -> None:
        """Run some hundred cases, and make the first that fails smaller."""

        @seeded(seed)
        @settings(SETTINGS, max_examples=300, phases=[Phase.generate, Phase.shrink])
        @given(cases())
        def examples(case: Case) -> None:
            if self.failures or not self.over:
                self._check(case)

        try:
            examples()
        except Exception:
            if not self.failures:  # no network is to blame
                raise

    def _check(self, case: Case) -> None:
        self.running.write_text(command(case))  # all that is left if the process dies
        try:
            check(case, Counter() if self.failures else self.counts)
        except Exception:
            self.failures.append(Failure(case, traceback.format_exc(limit=-4)))
            raise
        self._bar.update(int(min(self._since, self._seconds)) - self._bar.n)
        self._bar.set_postfix_str(f"{self.counts['networks']} networks", refresh=False)

    def finish(self) -> int:
        """Print counts and the smallest failure; return the exit code."""
        self._bar.close()
        for name, number in sorted(self.counts.items()):
            print(f"{number:8}  {name}")
        for failure in self.failures[-1:]:
            print(failure)
        return len(self.failures[:1])


def main() -> int:
    """Run for a time, or run one case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0, help="of the first networks; the next have the next seed")
    parser.add_argument("--case", help="what a failure printed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.case is not None:
        case: Case = eval(options.case, dict(NAMES))
        print(build(case.network, case.seed), *case.events, sep="\n")
        check(case, Counter())
        print("passed")
        return 0
    search = Search(options.minutes)
    print(f"Should the process die, its case is in {search.running}")
    seed = options.seed
    while not search.over:
        search.run(seed)
        seed += 1
    if search.failures:
        print(f"seed {seed - 1} failed")
    return search.finish()


if __name__ == "__main__":
    sys.exit(main())
