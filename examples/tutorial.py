"""The code of README.md as a script, to run, to change and to copy from: the same statements, with prints."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from spikingtorch import IF, SpikingNet, StepLayer
from spikingtorch.functional import Arctan
from spikingtorch.spikeio import PoissonEncoder, SumDecoder

# --- A first network: one step of it; SpikingNet runs it over time

torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(1, 4, 4, stride=2),
    IF(),
    nn.Conv2d(4, 6, 4),
    IF(),
    nn.Flatten(),
    nn.Linear(600, 10, bias=False),
    IF(),
)
model = SpikingNet(net, (10,))  # (10,) is the shape of the output

# images become spikes, and spikes become numbers
encoder, decoder = PoissonEncoder(nsteps=8), SumDecoder(nsteps=8, offset=False)
print("32 images as spikes:", encoder(torch.rand(32, 1, 28, 28)).shape)  # samples, steps, channels, height, width


# bars at one of ten angles, in noise
def bars(n):
    labels = torch.randint(10, (n, 1, 1))
    y, x = torch.meshgrid(torch.linspace(-1, 1, 28), torch.linspace(-1, 1, 28), indexing="ij")
    angle, shift = labels * torch.pi / 10, 0.1 * torch.randn(n, 1, 1)
    away = x * angle.sin() - y * angle.cos() + shift
    images = 0.9 * torch.exp(-((away / 0.15) ** 2)) + 0.1 * torch.rand(n, 28, 28)
    return TensorDataset(images[:, None], labels.flatten())


torch.manual_seed(0)
optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
for images, labels in DataLoader(bars(2000), batch_size=32, shuffle=True):
    loss = F.cross_entropy(decoder(model(encoder(images))), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

images, labels = bars(500).tensors
with torch.no_grad():
    accuracy = (decoder(model(encoder(images))).argmax(1) == labels).float().mean()
print(f"test accuracy after one epoch {accuracy:.1%}, above 90%:", bool(accuracy > 0.9))

# --- A neuron of your own: a step


class AdaptiveState(NamedTuple):
    v: torch.Tensor  # membrane
    a: torch.Tensor  # what recent spikes added to the threshold


def adaptive_step(state, x, *, decay, rise, surrogate=Arctan()):
    u = decay * state.v + x
    spike = surrogate(u - 1.0 - state.a)
    return AdaptiveState(v=(1 - spike) * u, a=decay * state.a + rise * spike), spike


layer = StepLayer(adaptive_step, AdaptiveState, decay=0.9, rise=0.5, learnable="rise")
print("its spikes:", [int(layer(torch.tensor([1.2]), init=(t == 0)).item()) for t in range(8)])
