"""Mode "auto" over a table of networks: whether it folds as it should, and with the numbers of mode "step"."""

import re

import pytest

from tests.fold.table import TABLE
from tests.fold.table.runs import both, differences, run

pytestmark = pytest.mark.usefixtures("one_thread")

# networks that could fold and step, with what they are told
FALSE_REFUSALS: dict[str, str] = {
    "embedding bag": "computes with the number of samples, or with a number that c.*arange",
    "scripted": "a scripted module, whose code is not in sight",
    "reentrant checkpoint": "runs a checkpoint with use_reentrant=True",
    "gradient of an energy": "reads grad of a tensor",
    "sparse weight": "runs an operation that is not known to keep samples apart.*_sparse_addmm",
    "copies of the batch": "repeats the samples of the batch.*repeat",
    "value at the largest": "computes with the number of samples, or with a number that c.*arange",
    "sample by sample": "computes something else for another number of samples, or at",
    "part by part": "computes something else for another number of samples, or at",
    "bags by offset": "computes with the number of samples, or with a number that c.*arange",
    "put by row": "computes with the number of samples, or with a number that c.*arange",
    "size by size": "computes with the number of samples, or with a number that c.*mul",
    "rotary positions": "changes module.table while it runs: it keeps a state, or a r",
    "code book": "measures distances by another formula if there are more samples",
    "distances to prototypes": "measures distances by another formula if there are more samples",
    "fractional pool": "combines the samples of a batch with each other.*fractional_max_pool2d",
}


def test_lists_are_of_the_table() -> None:
    assert {TABLE[name].wanted for name in FALSE_REFUSALS} <= {"fold"}


@pytest.mark.sampled
@pytest.mark.parametrize("name", TABLE)
def test_verdict(name: str) -> None:
    report = both(name).auto.report
    if name in FALSE_REFUSALS:
        assert report.mode == "step", "it folds: take it off the list of false refusals"
        assert re.search(FALSE_REFUSALS[name], report.reason), report.reason
    else:
        assert report.mode == TABLE[name].wanted, report.reason


@pytest.mark.sampled
@pytest.mark.parametrize("name", TABLE)
def test_numbers(name: str) -> None:
    case, (step, auto) = TABLE[name], both(name)
    if case.draws:
        # a fold draws the same numbers in another order
        assert not differences(run(case, "auto"), auto, case.dtype)
        assert [out.shape for out in auto.outputs] == [out.shape for out in step.outputs]
    else:
        assert not differences(auto, step, case.dtype)
    assert not step.outputs or any([out.count_nonzero() for out in step.outputs])
