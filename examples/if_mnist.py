"""The tutorial's network: two convolutions and a linear layer, each followed by integrate-and-fire neurons."""

import torch
from torch import Tensor, nn

from examples.training import fit, parse_options
from spikingtorch import IF, SpikingNet
from spikingtorch.spikeio import PoissonEncoder, SumDecoder


class Net(nn.Module):
    """One step of the network, images (N, 1, 28, 28) to spikes (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 4, stride=2)  # 28 x 28 -> 13 x 13
        self.conv2 = nn.Conv2d(4, 6, 4)  # 13 x 13 -> 10 x 10
        self.l1 = nn.Linear(600, 10, bias=False)
        self.sl1 = IF()
        self.sl2 = IF()
        self.sl3 = IF()

    def forward(self, x: Tensor, init: bool) -> Tensor:
        """Advance one step; init starts a new sequence."""
        s1 = self.sl1(self.conv1(x), init)
        s2 = self.sl2(self.conv2(s1), init)
        spikes: Tensor = self.sl3(self.l1(s2.flatten(1)), init)
        return spikes


def main() -> None:
    """Train on the command line's options."""
    options = parse_options(__doc__)
    torch.manual_seed(0)
    nsteps = 8
    model = SpikingNet(Net(), 10)
    classify = nn.Sequential(PoissonEncoder(nsteps), model, SumDecoder(nsteps))
    fit(classify, torch.optim.Adam(model.parameters(), lr=0.005), options)


if __name__ == "__main__":
    main()
