"""Layers without a state beside those of SpikingJelly and Sinabs: values and gradients."""

from collections.abc import Callable
from typing import Any

import pytest
import sinabs.layers as sinabs
import torch
from spikingjelly.activation_based import layer
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import like

LAYERS: dict[str, tuple[Callable[[], Any], Callable[[], nn.Module], tuple[int, ...]]] = {
    "VotingLayer": (lambda: layer.VotingLayer(4), lambda: like.spikingjelly.VotingLayer(4), (12,)),
    "SumPool2d": (lambda: sinabs.SumPool2d(2), lambda: like.sinabs.SumPool2d(2), (2, 6, 8)),
    "SumPool2d of strides": (
        lambda: sinabs.SumPool2d((3, 2), stride=2, ceil_mode=True),
        lambda: like.sinabs.SumPool2d((3, 2), stride=2, ceil_mode=True),
        (2, 6, 7),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_equal(name: str) -> None:
    theirs, ours, shape = LAYERS[name]
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(3, 5, *shape, generator=generator) < 0.2).float().requires_grad_()
    want = torch.stack([theirs()(each) for each in x.unbind(1)], 1)
    model = st.SpikingNet(nn.Sequential(ours(), st.SequenceDropout(0.0)))  # which does nothing, and spikes neither
    found: Tensor = model(x)
    assert model.explain().mode == "fold"
    assert torch.equal(found, want)
    pull = torch.randn(want.shape, generator=generator)
    gradients = [torch.autograd.grad(out, x, pull)[0] for out in (found, want)]
    assert torch.equal(*gradients)


def test_a_sequence_of_votes_is_equal() -> None:
    x = torch.rand(5, 3, 12)
    theirs, ours = layer.VotingLayer(4, step_mode="m"), like.spikingjelly.VotingLayer(4, step_mode="m")
    assert torch.equal(ours(x), theirs(x))
