"""
A neuron that fires by chance
=============================

A ``StochasticLIF`` neuron fires with a probability that grows with its membrane. A hundred runs under one current
give a hundred different rasters. Their mean over runs follows the current.
"""

# %%
import matplotlib.pyplot as plt
import torch

import spikingtorch as st
from spikingtorch import plot

torch.manual_seed(0)
times = torch.arange(200)
current = 0.06 + 0.06 * torch.sin(times / 16.0)
inputs = current[:, None, None].expand(200, 1, 100)  # steps, samples, runs
spikes = st.MultiStep(st.StochasticLIF(tau=8.0))(inputs)

figure, axes = plt.subplots(2, 1, figsize=(7, 4.4), sharex=True, layout="constrained", height_ratios=(3, 1))
plot.raster(spikes, batch_first=False, ax=axes[0])
axes[0].set(xlabel="", ylabel="run")
axes[1].plot(spikes.mean((1, 2)), label="share of runs that fire")
axes[1].plot(current, color="tab:red", label="current")
axes[1].set_xlabel("time (steps)")
axes[1].spines[["top", "right"]].set_visible(False)
axes[1].legend(frameon=False, ncols=2, loc="upper center", fontsize="small")
axes[1].set_ylim(0, 0.22)
plt.show()
