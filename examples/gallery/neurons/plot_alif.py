"""
A threshold that adapts
=======================

Each spike of an ``ALIF`` neuron raises its threshold, which sinks back slowly. Under a step of current the neuron
fires fast at first and then less and less. In the second step it still remembers the first one.
"""

# %%
import matplotlib.pyplot as plt
import torch

import spikingtorch as st
from spikingtorch import plot

current = torch.zeros(300, 1, 1)  # steps, samples, neurons
current[20:140] = current[180:280] = 0.4
layer = st.ALIF(tau=8.0, tau_adaptation=60.0, adaptation=6.0, returns=("spikes", "v", "threshold"))
spikes, v, threshold = st.MultiStep(layer)(current)

figure, axes = plt.subplots(2, 1, figsize=(7, 4), sharex=True, layout="constrained", height_ratios=(4, 1))
plot.traces(v, spikes=spikes, threshold=threshold, batch_first=False, ax=axes[0])
axes[0].set_xlabel("")
axes[1].plot(current.flatten(), color="tab:red")
axes[1].set(xlabel="time (steps)", ylabel="input")
axes[1].spines[["top", "right"]].set_visible(False)
plt.show()
