"""MultiStep without gradients, where one step or one sample runs as the steps of a network do."""

from typing import Any

import pytest
import torch

import spikingtorch as st
from spikingtorch.functional.core.tree import leaves_of
from tests.every_layer import drawn
from tests.layers.test_multi_step import OPTIONS, M, Make, N, T, at_once, one_by_one
from tests.test_like import MAKERS as LIKE


@pytest.mark.parametrize("make", [st.LIF, OPTIONS["returns"], st.StochasticLIF, LIKE["spikingjelly.LIFNode"]])
@pytest.mark.parametrize("sizes", [(1, N), (T, 1), (1, 1)])
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_one_step_or_one_sample_without_gradients(make: Make, sizes: tuple[int, int], context: Any) -> None:
    multi, single = st.MultiStep(make().double()), make().double()
    images = drawn(*sizes, 3, 4, 2).permute(0, 1, 4, 2, 3)
    for x in (drawn(*sizes, M), images, drawn(*sizes)):
        mask = torch.ones(sizes[1], dtype=torch.bool)
        for init in ((True,), (), (False,), (mask,), (True,)):
            with context():
                found, want = at_once(multi, x, *init), one_by_one(single, x, *init)
                assert all(map(torch.equal, leaves_of((found, multi.layer.state)), leaves_of((want, single.state))))
                kept = multi.layer.state
                before = [leaf.clone() for leaf in leaves_of(kept)]
                for out in leaves_of(found):
                    out += 1.0
                assert all(map(torch.equal, leaves_of(multi.layer.state), before))


def test_an_output_without_gradients_may_be_written_on_where_there_are_gradients() -> None:
    multi, weight = st.MultiStep(st.LIF(returns=("spikes", "v"))), torch.ones((), requires_grad=True)
    with torch.no_grad():
        outs = [out for _ in range(2) for out in multi(torch.rand(1, N, M))]
    for out in outs:
        out += weight
        assert out.requires_grad


def test_one_step_takes_the_prepared_kernel_of_a_fold() -> None:
    multi = st.MultiStep(st.IF())
    with torch.no_grad():
        for _ in range(2):
            multi(torch.rand(1, N, M))
    assert multi.layer._prepared_scan is not None
