"""Which networks hand init to their layers, and to which. What the layers do with it: ``tests/contract``."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikingtorch import LIF, SpikingNet
from tests.contract.networks import After, Block, ByName, Required
from tests.contract.oracle import HIDDEN

MODES: Any = ("auto", "step", "fold")


class Ambiguous(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.neurons = LIF()

    def forward(self, x: Tensor, start: bool = False) -> Any:
        return self.neurons(x, start)


class NoInput(nn.Module):
    def forward(self) -> None: ...


@pytest.mark.parametrize("net", [nn.Identity(), nn.Linear(2, 2), nn.Sequential(nn.ReLU()), NoInput(), Ambiguous()])
def test_networks_that_no_init_reaches_are_refused(net: nn.Module) -> None:
    with pytest.raises(TypeError, match=r"must take two arguments, forward\(self, x, init\)"):
        SpikingNet(net)


INPUTS = torch.rand(4, 9, HIDDEN, generator=torch.Generator().manual_seed(5), dtype=torch.double)
MASK = torch.tensor([True, False] * 2)


def twice(model: SpikingNet) -> Tensor:
    """Return the outputs of two calls, in the second of which some samples go on."""
    return torch.stack([model(INPUTS), model(INPUTS, MASK)])


@pytest.mark.sampled
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [After, ByName, Required, Block])
def test_a_network_that_is_changed_hands_init_to_its_new_modules(kind: Any, mode: Any) -> None:
    torch.manual_seed(0)
    block = kind().double()
    want = twice(SpikingNet(nn.Sequential(block), mode="step"))
    layers = nn.Sequential(LIF())
    model = SpikingNet(layers, mode=mode)
    model(INPUTS)
    layers[0] = block
    assert torch.equal(twice(model), want)
    for net in (block, torch.optim.swa_utils.AveragedModel(block)):
        model.net = net
        assert torch.equal(twice(model), want)
    model.net = nn.Linear(HIDDEN, HIDDEN)
    with pytest.raises(TypeError, match="must take two arguments"):
        model(INPUTS)
