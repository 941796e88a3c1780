"""
Only changes make spikes
========================

``DeltaEncoder`` spikes when a signal has moved by a threshold since its last spike, upwards or downwards. Where the
signal rests, nothing is sent. The sum of the spikes follows the signal, to within a threshold.
"""

# %%
import matplotlib.pyplot as plt
import torch

from spikingtorch import plot
from spikingtorch.spikeio import DeltaEncoder

times = torch.arange(300) / 300
signal = torch.sin(14 * (times - 0.08).clamp(min=0.0)) * torch.exp(-6 * (times - 0.4).clamp(min=0.0))
encoder = DeltaEncoder(threshold=0.1)
spikes = encoder(signal.reshape(1, 300, 1)).squeeze(-1)  # samples, steps, off and on
level = signal[0] + 0.1 * (spikes[0, :, 1] - spikes[0, :, 0]).cumsum(0)

figure, axes = plt.subplots(2, 1, figsize=(7, 4), sharex=True, layout="constrained", height_ratios=(3, 1))
axes[0].plot(signal, color="gray", label="signal")
axes[0].step(range(300), level, where="post", label="sum of the spikes")
axes[0].legend(frameon=False)
axes[0].spines[["top", "right"]].set_visible(False)
plot.raster(spikes, ax=axes[1])
axes[1].set(yticks=(0, 1), yticklabels=("off", "on"), ylabel="")
plt.show()
