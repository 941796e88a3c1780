"""
Density against time
====================

The density of a layer is the share of its neurons that fire at a step. When the input grows, the adaptive layer
answers the change more than the new level, and the layer with synaptic currents follows slowly.
"""

# %%
import matplotlib.pyplot as plt
import torch
from torch import nn

import spikingtorch as st
from spikingtorch.init import to_rate_

torch.manual_seed(0)
layers = {"1": "LIF", "3": "ALIF, adaptive", "5": "CubaLIF, slow synapses"}
adaptive, slow = st.ALIF(tau_adaptation=20.0, adaptation=10.0), st.CubaLIF(tau_syn=8.0)
net = nn.Sequential(nn.Linear(50, 200), st.LIF(), nn.Linear(200, 200), adaptive, nn.Linear(200, 200), slow)
model = st.SpikingNet(net)
x = (torch.rand(32, 120, 50) < 0.05).float()  # samples, steps, neurons
x[:, 40:90] = (torch.rand(32, 50, 50) < 0.35).float()
to_rate_(model, x, rate=0.1)
with torch.no_grad():
    recording = st.record(model, x)

figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.plot(x.mean((0, 2)), color="gray", linestyle=":", label="input")
for name, label in layers.items():
    ax.plot(recording[name]["spikes"].mean((0, 2)), label=label)
ax.set(xlabel="time (steps)", ylabel="share of neurons that fire", ylim=(0, None))
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False, loc="upper left")
plt.show()
