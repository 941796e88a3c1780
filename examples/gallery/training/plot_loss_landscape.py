"""
A loss over two parameters
==========================

A step and ``scan`` are functions, so that ``vmap`` runs them over a grid of parameters in one call. The loss compares
the spikes of 2,500 neurons with those of one of ``tau = 10`` and a threshold of 1. In the valley, one parameter makes
up for the other.
"""

# %%
import matplotlib.pyplot as plt
import torch
from torch import Tensor
from torch.func import vmap

from spikingtorch import functional as F
from spikingtorch.losses import van_rossum_distance

torch.manual_seed(0)
currents = 0.4 * torch.rand(200, 8)  # steps, samples


def spikes(tau: Tensor, threshold: Tensor) -> Tensor:
    """Return the spikes of one neuron."""
    params = {"decay": F.decay_from_tau(tau), "gain": F.gain_from_tau(tau), "threshold": threshold}
    return F.scan(F.lif_step, F.zeros_state(F.LIFState, currents[0]), currents, params=params)[1]


def loss(tau: Tensor, threshold: Tensor) -> Tensor:
    """Return the distance to the spikes that are wanted."""
    return van_rossum_distance(spikes(tau, threshold), target, tau=5.0, batch_first=False)


target = spikes(torch.tensor(10.0), torch.tensor(1.0))
taus, thresholds = torch.linspace(4.0, 20.0, 50), torch.linspace(0.5, 1.8, 50)
losses = vmap(vmap(loss, in_dims=(0, None)), in_dims=(None, 0))(taus, thresholds)

# %%
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
shades = ax.contourf(taus, thresholds, losses.log10().clamp(min=-0.5), levels=20)
ax.plot(10.0, 1.0, "o", color="white")
ax.set(xlabel="tau (steps)", ylabel="threshold")
figure.colorbar(shades, label="log10 of the loss")
plt.show()
