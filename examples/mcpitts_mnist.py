"""McCulloch-Pitts neurons: no memory, so that each step is a binary network of its own and the steps only vote."""

import torch
from torch import Tensor, nn

from examples.training import fit, parse_options
from spikingtorch import McPitts, SpikingNet
from spikingtorch.spikeio import PoissonEncoder, SumDecoder


class Net(nn.Module):
    """One step of the network, images (N, 1, 28, 28) to spikes (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 4, stride=2)
        self.conv2 = nn.Conv2d(4, 6, 4)
        self.l1 = nn.Linear(600, 10, bias=False)
        self.sl1 = McPitts(threshold=0.5)
        self.sl2 = McPitts(threshold=0.5)
        self.sl3 = McPitts(threshold=0.5)

    def forward(self, x: Tensor, init: bool) -> Tensor:  # noqa: ARG002 - nothing here has a memory to start anew
        """Advance one step."""
        s1 = self.sl1(self.conv1(x))
        s2 = self.sl2(self.conv2(s1))
        spikes: Tensor = self.sl3(self.l1(s2.flatten(1)))
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
