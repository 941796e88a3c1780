"""Each network of the corpus: whether it folds as it should, and that mode "auto" computes what its steps do."""

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import spikingtorch as st
from tests.fold.corpus import TABLE
from tests.fold.corpus.entry import FOLDS
from tests.fold.corpus.runs import differences, run

pytestmark = pytest.mark.usefixtures("one_thread")
TEXT = "step by step, with the same results as all steps at once but slower, because it "


def fits(expected: str | None, report: Any) -> bool:
    """Return whether a report says what is expected of it."""
    if expected in (None, FOLDS):
        return expected is None or report.mode == "fold"
    return report.mode == "step" and re.search(expected, report.reason) is not None


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if TABLE[name].each_time else pytest.mark.sampled) for name in TABLE]
)
def test_runs_as_its_steps(name: str) -> None:
    entry = TABLE[name]
    step, auto = run(entry, "step"), run(entry, "auto")
    before, after = auto.report
    if entry.draws:  # a fold draws the same numbers in another order
        assert not differences(run(entry, "auto"), auto, entry.dtype)
        assert differences(run(entry, "auto", seed=1), auto, entry.dtype)
        assert [out.shape for out in auto.outputs] == [out.shape for out in step.outputs]
    else:
        wrong = differences(auto, step, entry.dtype)
        assert not wrong, f"{before.mode} ({before.reason}): {wrong}"
    assert not step.outputs or any(out.count_nonzero() for out in step.outputs)
    assert fits(entry.expected, before), before.reason
    assert fits(entry.then, after), after.reason
    assert not step.warned
    if entry.expected and auto.outputs:
        assert len(auto.warned) == ("step" in (before.mode, after.mode)), auto.warned
        said = entry.expected if entry.expected != FOLDS else entry.then
        for text in auto.warned:
            assert re.search(f"{TEXT}.*{said}.*mode='step'", text, re.DOTALL), text


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", [name for name, entry in TABLE.items() if entry.precisions])
def test_runs_in_other_precisions(name: str, dtype: torch.dtype) -> None:
    entry = replace(TABLE[name], dtype=dtype)
    step, auto = run(entry, "step"), run(entry, "auto")
    assert auto.report[0].mode == "fold", auto.report[0].reason
    assert not auto.warned
    for got, want in zip(auto.outputs, step.outputs, strict=True):
        assert got.dtype == dtype
        # a sum over more rows may round in another order, and now and then a neuron lies that close to its threshold
        assert (got != want).float().mean() < 0.03


def test_dropout_draws_a_mask_for_each_step_and_sample() -> None:
    model = st.SpikingNet(nn.Sequential(nn.Dropout(0.5), st.McPitts(0.5)), 400)
    torch.manual_seed(0)
    masks = model(torch.ones(6, 5, 400))
    assert model.explain().mode == "fold"
    assert abs(float(masks.mean()) - 0.5) < 0.02
    flat = masks.reshape(30, 400)
    agree = torch.stack([(flat[i] == flat[j]).float().mean() for i in range(30) for j in range(i)])
    assert agree.max() < 0.65
    assert torch.equal(model.eval()(torch.ones(6, 5, 400)), torch.ones(6, 5, 400))
