"""A block of the Spike-driven Transformer V2, written anew: outputs and gradients are those of theirs, and it folds."""

from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

from spikingtorch import SpikingNet, like
from tests.peers.compared import compare

T, N = 6, 3


class Padded(nn.Module):
    """A batch norm, and a border of what it makes of zeros: read from its running statistics."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.bn: Any = norm

    def forward(self, x: Tensor) -> Tensor:
        out, bn = self.bn(x), self.bn
        zero = (bn.bias - bn.running_mean * bn.weight / torch.sqrt(bn.running_var + bn.eps)).detach()
        border: Tensor = zero.view(-1, 1, 1).expand(*out.shape[:-2], out.shape[-2] + 2, out.shape[-1] + 2).clone()
        border[..., 1:-1, 1:-1] = out
        return border


def branch(conv: Any, norm: Any, node: nn.Module) -> nn.Sequential:
    """Return a branch that becomes one convolution for inference, as in the Spike-driven Transformer V2."""
    shapes = (conv(3, 8, 1, bias=False), Padded(norm(8)), conv(8, 8, 3, groups=8, bias=False), norm(8))
    return nn.Sequential(*shapes, node)


def test_a_branch_that_reads_running_statistics() -> None:
    torch.manual_seed(0)
    theirs = branch(layer.Conv2d, layer.BatchNorm2d, neuron.LIFNode(detach_reset=True))
    functional.set_step_mode(theirs, "m")
    node = like.spikingjelly.LIFNode(detach_reset=True)
    ours = SpikingNet(branch(nn.Conv2d, nn.BatchNorm2d, node), batch_first=False, statistics="sequence")
    with torch.no_grad():
        theirs.get_parameter("3.weight").fill_(3.0)  # so that the neurons fire
        theirs(torch.randn(T, N, 3, 8, 8))
    functional.reset_net(theirs)
    compare(theirs, ours, torch.randn(T, N, 3, 8, 8))


@pytest.fixture(autouse=True)
def _nothing_is_random() -> Any:
    with torch.random.fork_rng():
        yield
