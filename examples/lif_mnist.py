"""Leaky integrate-and-fire neurons whose time constants are learned, one per channel."""

import torch
from torch import Tensor, nn

from examples.training import fit, parse_options
from spikingtorch import LIF, SpikingNet
from spikingtorch.spikeio import PoissonEncoder, SumDecoder


class Net(nn.Module):
    """One step of the network, images (N, 1, 28, 28) to spikes (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 4, stride=2)
        self.conv2 = nn.Conv2d(4, 6, 4)
        self.l1 = nn.Linear(600, 10, bias=False)
        self.sl1 = LIF(tau=torch.full((4, 1, 1), 8.0), learnable="tau")
        self.sl2 = LIF(tau=torch.full((6, 1, 1), 8.0), learnable="tau")
        self.sl3 = LIF(tau=8.0)

    def forward(self, x: Tensor, init: bool) -> Tensor:
        """Advance one step; init starts a new sequence."""
        s1 = self.sl1(self.conv1(x), init)
        s2 = self.sl2(self.conv2(s1), init)
        spikes: Tensor = self.sl3(self.l1(s2.flatten(1)), init)
        return spikes


def main() -> None:
    """Train on the command line's options, then show the time constants."""
    options = parse_options(__doc__)
    torch.manual_seed(0)
    nsteps = 8
    net = Net()
    model = SpikingNet(net, 10)
    classify = nn.Sequential(PoissonEncoder(nsteps), model, SumDecoder(nsteps))
    fit(classify, torch.optim.Adam(model.parameters(), lr=0.005), options)
    for name, tau in net.named_parameters():
        if name.endswith("tau"):
            print(f"{name}: " + "  ".join(f"{value:.2f}" for value in tau.flatten().tolist()))


if __name__ == "__main__":
    main()
