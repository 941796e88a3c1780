"""SynapseFilter, VotingLayer and SumPool2d, against loops."""

import numpy as np
import pytest
import torch
from torch import nn

import spikingtorch as st
from spikingtorch import like
from spikingtorch.testing import assert_close


@pytest.mark.parametrize("learnable", [False, True])
def test_a_synapse_filter_is_a_current_that_spikes_refresh(learnable: bool) -> None:
    layer = like.spikingjelly.SynapseFilter(tau=2.0, learnable=learnable).double()
    x = (torch.rand(3, 12, 5, generator=torch.Generator().manual_seed(0)) < 0.4).double()
    i, want = np.zeros((3, 5)), []
    for s in x.numpy().swapaxes(0, 1):
        i = np.where(s == 1.0, i + 1.0, i * (1.0 - 1.0 / 2.0))
        want.append(i)
    model = st.SpikingNet(nn.Sequential(layer))
    assert_close(model(x), torch.from_numpy(np.stack(want, 1)))
    assert model.explain().mode == "fold"
    assert [*layer.state_dict()][:-1] == (["w"] if learnable else [])


def test_votes_are_the_mean_of_the_neurons_of_a_class() -> None:
    x = torch.rand(2, 6, 8, generator=torch.Generator().manual_seed(0))
    want = torch.stack([x[..., :4].mean(-1), x[..., 4:].mean(-1)], -1)
    model = st.SpikingNet(nn.Sequential(like.spikingjelly.VotingLayer(4), st.LI(decay=0.0)))
    assert_close(model(x), want)
    assert model.explain().mode == "fold"
    assert_close(like.spikingjelly.VotingLayer(4, step_mode="m")(x), want)


def test_a_sum_pool_sums_and_gives_no_gradient_to_windows_of_zeros() -> None:
    x = torch.zeros(1, 3, 1, 4, 5)
    x[0, 1, 0, :2, 1] = 1.0
    x.requires_grad_()
    model = st.SpikingNet(nn.Sequential(like.sinabs.SumPool2d(2), st.LI(decay=0.0)))
    out = model(x)
    want = np.zeros((3, 2, 2))
    for t, row, column in np.ndindex(want.shape):
        want[t, row, column] = x.detach()[0, t, 0, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].sum()
    assert_close(out[0, :, 0].double(), torch.from_numpy(want))
    assert model.explain().mode == "fold"
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert gradient.sum() == 4.0
    assert gradient[0, 1, 0, :2, :2].all()
    assert not like.sinabs.SumPool2d((2, 3), stride=1, ceil_mode=True)(x[0]).isnan().any()
