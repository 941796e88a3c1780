"""Random steps, called at random, through the library's target for GPUs in Triton's interpreter: scan is its loop.

    python -m tests.gpu_text.fuzz --minutes 60 --seed 1

The cases are those of tests.fuzz.scan, but for what the interpreter cannot do: threads, and bfloat16, which it
truncates.
"""

import math
import sys
from collections import Counter

from tests.fuzz import scan
from tests.fuzz.driver import Fuzzer, main
from tests.fuzz.steps import Step
from tests.fuzz.tensors import Call
from tests.gpu_text.launch import interpreted

MOST = 4096


def fits(call: Call) -> bool:
    """Say whether the interpreter can run a call."""
    return call.precision != "bfloat16" and call.mode not in ("thread", "threads") and math.prod(call.shape) <= MOST


def run(case: tuple[Step, list[Call]], counts: Counter[str]) -> None:
    """Assert that the calls of a step that the interpreter can run are right."""
    step, calls = case
    with interpreted() as target:
        scan.run((step, [call for call in calls if fits(call)]), counts)
        counts["kernels"] += target.launches


FUZZER = Fuzzer("tests.gpu_text.fuzz", scan.FUZZER.cases, run, 1)

if __name__ == "__main__":
    sys.exit(main(FUZZER, __doc__))
