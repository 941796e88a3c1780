"""Each network of the table: whether it folds as it should, and that mode "auto" computes what its steps do."""

import re
from dataclasses import replace

import pytest
import torch
from torch import nn

import spikingtorch as st
from tests.fold.nets import TABLE
from tests.fold.nets.entry import FOLDS
from tests.fold.nets.runs import differences, run
from tests.nets_that_step import Own

pytestmark = pytest.mark.usefixtures("one_thread")
# each run of the tests takes what hides, and the first of each reason; of the rest a part
FIRST = {entry.expected: name for name, entry in reversed(TABLE.items())}
EACH = [
    pytest.param(name, marks=[] if entry.expected is None or name in FIRST.values() else [pytest.mark.sampled])
    for name, entry in TABLE.items()
]
TEXT = "step by step, with the same results as all steps at once but slower, because it "


@pytest.mark.sampled
@pytest.mark.parametrize("name", EACH)
def test_runs_as_its_steps(name: str) -> None:
    entry = TABLE[name]
    step, auto = run(entry, "step"), run(entry, "auto")
    mode, reason = auto.report.mode, auto.report.reason
    if entry.draws:  # a fold draws the same numbers in another order
        assert not differences(run(entry, "auto"), auto, entry.dtype)
        assert differences(run(entry, "auto", seed=1), auto, entry.dtype)
        assert [out.shape for out in auto.outputs] == [out.shape for out in step.outputs]
    else:
        wrong = differences(auto, step, entry.dtype)
        assert not wrong, f"{mode} ({reason}): {wrong}"
    assert not step.outputs or any(out.count_nonzero() for out in step.outputs)
    assert entry.expected is None or mode == ("fold" if entry.expected == FOLDS else "step"), reason
    assert len(auto.warned) == (mode == "step") or not (auto.outputs and entry.expected), auto.warned
    assert not step.warned
    if entry.expected not in (None, FOLDS):
        assert re.search(entry.expected, reason), reason
        for text in auto.warned if auto.outputs else ():
            assert re.search(TEXT + ".*" + entry.expected + ".*mode='step'", text, re.DOTALL), text


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", [name for name, entry in TABLE.items() if entry.precisions])
def test_runs_in_other_precisions(name: str, dtype: torch.dtype) -> None:
    entry = replace(TABLE[name], dtype=dtype)
    step, auto = run(entry, "step"), run(entry, "auto")
    assert auto.report.mode == "fold", auto.report.reason
    assert not auto.warned
    for got, want in zip(auto.outputs, step.outputs, strict=True):
        assert got.dtype == dtype
        # a sum over more rows may round in another order, and now and then a neuron lies that close to its threshold
        assert (got != want).float().mean() < 0.03


def test_dropout_draws_a_mask_for_each_step_and_sample() -> None:
    net = Own(lambda net, x, init: net.sl1(net.l1(x), init), l1=nn.Dropout(0.5), l2=None, sl1=st.McPitts(0.5))
    model = st.SpikingNet(net, 400)
    torch.manual_seed(0)
    masks = model(torch.ones(6, 5, 400))
    assert model.explain().mode == "fold"
    assert abs(float(masks.mean()) - 0.5) < 0.02
    flat = masks.reshape(30, 400)
    agree = torch.stack([(flat[i] == flat[j]).float().mean() for i in range(30) for j in range(i)])
    assert agree.max() < 0.65
    assert torch.equal(model.eval()(torch.ones(6, 5, 400)), torch.ones(6, 5, 400))
