"""Plasticity against SpikingJelly's STDPLearner, which differs from Brian2 at a common step of both sides."""

from typing import Any

import torch
from spikingjelly.activation_based import layer, learning, neuron
from torch import nn

from spikingtorch import functional as F


def test_spikingjelly_differs_by_the_fall_at_a_common_step(in_float64: None) -> None:
    linear, fires = layer.Linear(5, 4, bias=False), neuron.IFNode(v_threshold=1.0)
    nn.init.uniform_(linear.weight, 0.2, 0.8)
    theirs: Any = learning.STDPLearner(
        step_mode="s",
        synapse=linear,
        sn=fires,
        tau_pre=5.0,
        tau_post=4.0,
        f_pre=lambda weight: 0.02 * torch.ones_like(weight),
        f_post=lambda weight: 0.03 * torch.ones_like(weight),
    )
    params: Any = {"decay_pre": 1.0 - 1.0 / 5.0, "decay_post": 1.0 - 1.0 / 4.0, "rate_plus": 0.03, "rate_minus": 0.02}
    traces, common = F.PairTraces(torch.zeros(3, 5), torch.zeros(3, 4)), 0.0
    for _ in range(20):
        pre = torch.rand(3, 5).lt(0.4).double()
        with torch.no_grad():
            post = fires(linear(pre))
        found = theirs.step(on_grad=False)
        traces, change = F.pair_stdp(traces, pre, post, linear.weight.detach(), **params)
        # it also lets a weight fall for a postsynaptic spike of the same step
        at_once = 0.02 * post.mT @ pre
        torch.testing.assert_close(found, change - at_once, rtol=1e-12, atol=1e-12)
        common += float(at_once.sum())
    assert common > 0.0
