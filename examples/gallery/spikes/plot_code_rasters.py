"""
Five numbers in four codes
==========================

Each row of a raster is one number from 0.1 to 0.9 as spikes over 30 steps. A larger number makes more spikes in the
first two codes, and an earlier one in the others. The logarithmic code spreads small numbers further apart.
"""

# %%
import matplotlib.pyplot as plt
import torch

from spikingtorch import plot
from spikingtorch.spikeio import LatencyEncoder, PeriodicEncoder, PoissonEncoder

torch.manual_seed(0)
numbers = torch.linspace(0.1, 0.9, 5).unsqueeze(0)  # samples, numbers
encoders = {
    "PoissonEncoder": PoissonEncoder(30),
    "PeriodicEncoder": PeriodicEncoder(30),
    "LatencyEncoder": LatencyEncoder(30),
    "LatencyEncoder, logarithmic": LatencyEncoder(30, code="logarithmic", threshold=0.05),
}

figure, axes = plt.subplots(2, 2, figsize=(8, 4), sharex=True, sharey=True, layout="constrained")
for ax, (name, encoder) in zip(axes.flat, encoders.items(), strict=True):
    plot.raster(encoder(numbers), ax=ax)
    ax.set_title(name, loc="left", fontsize=10)
    ax.set(yticks=range(5), yticklabels=[f"{number:.1f}" for number in numbers[0].tolist()], ylabel="number")
    ax.label_outer()
plt.show()
