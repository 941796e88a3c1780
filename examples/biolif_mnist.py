"""Conductance-based neurons with separate excitatory and inhibitory weights, kept non-negative by a Clipper."""

import torch
from torch import Tensor, nn

from examples.training import fit, parse_options
from spikingtorch import BioLIF, SpikingNet
from spikingtorch.functional import Sigmoid
from spikingtorch.spikeio import PoissonEncoder, SumDecoder
from spikingtorch.utils import Clipper, ClippingNet


class Net(ClippingNet):
    """One step of the network, images (N, 1, 28, 28) to spikes (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1e = nn.Conv2d(1, 4, 4, stride=2, bias=False)
        self.conv1i = nn.Conv2d(1, 4, 4, stride=2, bias=False)
        self.conv2e = nn.Conv2d(4, 6, 4, bias=False)
        self.conv2i = nn.Conv2d(4, 6, 4, bias=False)
        self.l1e = nn.Linear(600, 10, bias=False)
        self.l1i = nn.Linear(600, 10, bias=False)
        self.exc_weights = [self.conv1e, self.conv2e, self.l1e]
        self.inh_weights = [self.conv1i, self.conv2i, self.l1i]
        self.sl1 = BioLIF(nudt=0.25, surrogate=Sigmoid(beta=3.0))
        self.sl2 = BioLIF(nudt=0.25, surrogate=Sigmoid(beta=3.0))
        self.sl3 = BioLIF(nudt=0.25, surrogate=Sigmoid(beta=3.0))
        self.init_weights()

    def forward(self, x: Tensor, init: bool) -> Tensor:
        """Advance one step; init starts a new sequence."""
        s1 = self.sl1(self.conv1e(x), self.conv1i(x), init)
        s2 = self.sl2(self.conv2e(s1), self.conv2i(s1), init).flatten(1)
        spikes: Tensor = self.sl3(self.l1e(s2), self.l1i(s2), init)
        return spikes


def main() -> None:
    """Train on the command line's options."""
    options = parse_options(__doc__)
    torch.manual_seed(0)
    nsteps = 8
    model = SpikingNet(Net(), 10)
    classify = nn.Sequential(PoissonEncoder(nsteps), model, SumDecoder(nsteps))
    fit(classify, Clipper(model, torch.optim.Adam(model.parameters(), lr=0.01)), options)


if __name__ == "__main__":
    main()
