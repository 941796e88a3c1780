"""
With a leak and without one
===========================

An integrate-and-fire neuron (``IF``) remembers its input for ever. A ``LIF`` neuron forgets it, so that only inputs
which come close together add up. Both get the same seven spikes.
"""

# %%
import matplotlib.pyplot as plt
import torch

import spikingtorch as st
from spikingtorch import plot

inputs = torch.zeros(100, 1, 1)  # steps, samples, neurons
inputs[[10, 30, 50, 70, 73, 76, 79]] = 0.4
layers = [st.IF(returns=("spikes", "v")), st.LIF(tau=8.0, returns=("spikes", "v"))]

figure, axes = plt.subplots(3, 1, figsize=(7, 4.4), sharex=True, layout="constrained", height_ratios=(3, 3, 1))
for ax, layer in zip(axes, layers, strict=False):
    spikes, v = st.MultiStep(layer)(inputs)
    plot.traces(v, spikes=spikes, threshold=1.0, batch_first=False, ax=ax)
    ax.set_title(type(layer).__name__, loc="left", fontsize=10)
    ax.set_xlabel("")
axes[2].vlines(inputs.flatten().nonzero(), 0, 0.4, color="tab:red")
axes[2].set(xlabel="time (steps)", ylabel="input", ylim=(0, 0.5))
axes[2].spines[["top", "right"]].set_visible(False)
plt.show()
