"""Neurons learn digits without labels or gradients, in the style of Diehl and Cook (2015).

Neurons that inhibit each other compete for each digit, and STDP moves the weights of those that fire towards it. Labels
come last: each neuron votes for the digits for which it fires, by their shares of its spikes. After the second epoch,
the votes are right for 82.6 % of the test digits. A picture in runs/ shows the weights of some neurons.
"""

from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

from examples import data
from examples.training import parse_options
from spikingtorch import LIF, SpikingNet, learning, plot
from spikingtorch import functional as F
from spikingtorch.functional import plasticity

NEURONS, STEPS, SPIKES = 300, 50, 20.0


def encode(images: Tensor) -> Tensor:
    """Return Poisson spikes (N, T, 784), the same mean number in each step of every image."""
    rates = SPIKES * nn.functional.normalize(images.flatten(1), p=1)
    return (torch.rand(len(images), STEPS, 784) < rates[:, None]).float()


@torch.no_grad()
def counts(model: nn.Module, digits: TensorDataset) -> Tensor:
    """Return the number of spikes of each neuron for each digit, (N, neurons)."""
    return torch.cat([model(encode(images)).sum(1) for images, _ in DataLoader(digits, batch_size=200)])


torch.manual_seed(0)
options = parse_options(__doc__)
train, test = data.load(options.dataset)
inhibition = nn.Linear(NEURONS, NEURONS, bias=False)
nn.init.constant_(inhibition.weight, -2000.0).data.fill_diagonal_(0.0)
weights = nn.Linear(784, NEURONS, bias=False)
weights.weight.data = plasticity.normalize_weight(torch.rand(NEURONS, 784), total=78.4)
neurons = LIF(tau=20.0, threshold=torch.full((NEURONS,), 30.0), recurrent=inhibition)
model = SpikingNet(nn.Sequential(weights, neurons))
decay = F.decay_from_tau(20.0)
rates: Any = {"decay_pre": decay, "decay_post": decay, "rate_plus": 0.02, "rate_minus": 0.0001}
stdp = learning.STDP(model, bounds=plasticity.SoftBounds(0.0, 1.0), reduction="sum", total=78.4, **rates)
homeostasis = learning.AdaptiveThreshold(model, rise=10.0, decay=0.9999)
for epoch in range(1, options.epochs + 1):
    loader = DataLoader(train, batch_size=5, shuffle=True)
    for images, _ in tqdm(islice(loader, options.batches), f"epoch {epoch}", len(loader), leave=False, disable=None):
        stdp(encode(images))
        stdp.step()
        homeostasis.step(stdp.spikes)
    fired = counts(model, train)
    mean = torch.stack([fired[train.tensors[1] == digit].mean(0) for digit in range(10)])
    labels = (mean / mean.sum(0)).nan_to_num()
    right = ((counts(model, test) @ labels.T).argmax(1) == test.tensors[1]).float().mean()
    print(f"epoch {epoch}/{options.epochs}   test accuracy {right:6.1%}", flush=True)
Path("runs").mkdir(exist_ok=True)
figure: Any = plot.weights(weights.weight.detach().view(-1, 1, 28, 28)).figure
figure.savefig("runs/stdp_digits.png")
