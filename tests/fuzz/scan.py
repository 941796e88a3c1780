"""Random steps, called at random: scan is its loop, or raises.

A short run, the same one each time, is a test. For hours, with others each time,

    python -m tests.fuzz.scan --minutes 60 --seed 1
"""

import math
import sys
import warnings
from collections import Counter
from typing import Any

import torch
from hypothesis import strategies as st

from tests.fuzz.driver import Fuzzer, main
from tests.fuzz.modes import MODES, Answer, Case, check_unchanged
from tests.fuzz.steps import Built, Step, steps
from tests.fuzz.tensors import LAYOUTS, PARAMETERS, Call, Shape

SHAPES: list[Shape] = [(3,), (), (1,), (2, 3), (5, 1, 2), (2, 3, 2, 2), (0, 2), (4, 2, 3, 3)]
LARGE: list[Shape] = [(300,), (1100, 2), (512, 257)]


def run(case: tuple[Step, list[Call]], counts: Counter[str]) -> None:
    """Assert that all calls of a step are right, and that the results of each stay what they are in the later ones."""
    step, calls = case
    built = Built(step)
    kept: list[Answer] = []
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "scan: .* ran on the Python loop", RuntimeWarning)
            for call in calls:
                torch.set_default_dtype(getattr(torch, call.default))
                Case(step, built, call, counts).check(kept)
        for answer in kept:
            check_unchanged(answer.leaves, answer.values, "a later call")
    except Exception as error:
        error.add_note(f"{step.source}\n# numbers, to be multiplied by the factor: {step.constants}")
        raise
    finally:
        torch.set_default_dtype(torch.float32)
    counts["calls"] += len(calls)


@st.composite
def calls(pick: st.DrawFn) -> list[Call]:
    """Draw calls of one step: a first one, and each further one like that before but for a thing or two."""
    layout = st.sampled_from([*LAYOUTS])
    draw: dict[str, st.SearchStrategy[Any]] = {
        "precision": st.sampled_from(["float64", "float32", "float64", "float16", "bfloat16"]),
        "shape": st.sampled_from(SHAPES) | st.sampled_from(SHAPES) | st.sampled_from([*SHAPES[3:], *LARGE]),
        "T": st.sampled_from([2, 3, 1, 17, 5, 0, 33]),
        "dim": st.integers(0, 3) | st.integers(-3, -1),
        "layouts": st.tuples(layout) | st.lists(st.just("plain") | layout, min_size=1, max_size=5).map(tuple),
        "params": st.tuples(*[st.sampled_from(PARAMETERS)] * 2),
        "numbers": st.sampled_from(["normal", "grid", "zeros", "special"]),
        "learned": st.integers(0, 127) | st.just(127),
    }
    often: dict[str, st.SearchStrategy[Any]] = {
        "seed": st.integers(0, 99),
        "factor": st.sampled_from([1.0, 0.7]),
        "mode": st.sampled_from(MODES),
        "write": st.sampled_from(["", "input", "out", "state", "numbers"]),
        "default": st.sampled_from(["float32", "float32", "float64"]),
    }
    found = [Call(**{name: pick(strategy) for name, strategy in (draw | often).items()})]
    for name in pick(st.lists(st.sampled_from(["seed", *draw]), max_size=7)):
        found.append(found[-1]._replace(**{each: pick((draw | often)[each]) for each in sorted({name, *often})}))
    # so many neurons are for one step, which runs fused where they are many
    return [call._replace(T=1) if math.prod(call.shape) > 2**16 else call for call in found]


FUZZER = Fuzzer("tests.fuzz.scan", st.tuples(steps(), calls()), run, torch.get_num_threads())

if __name__ == "__main__":
    sys.exit(main(FUZZER, __doc__))
