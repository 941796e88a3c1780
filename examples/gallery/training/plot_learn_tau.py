"""
Learning time constants
=======================

Six neurons start with different time constants. Each learns its own until its spikes are those of a neuron with a
time constant of 12 steps. The loss is the van Rossum distance, and its gradient passes through the spikes.
"""

# %%
import matplotlib.pyplot as plt
import torch

import spikingtorch as st
from spikingtorch.losses import van_rossum_distance

torch.manual_seed(0)
inputs = (0.4 * torch.rand(200, 16, 1)).expand(-1, -1, 6)  # steps, samples, neurons
with torch.no_grad():
    target = st.MultiStep(st.LIF(tau=12.0))(inputs)
layer = st.LIF(tau=torch.tensor([3.0, 5.0, 8.0, 16.0, 24.0, 40.0]), learnable="tau")
(tau,) = layer.parameters()
optimizer = torch.optim.Adam([tau], lr=0.3)
history = [tau.detach().clone()]
for _ in range(200):
    spikes = st.MultiStep(layer)(inputs, True)
    loss = van_rossum_distance(spikes, target, tau=10.0, batch_first=False)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    history.append(tau.detach().clone())

figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.plot(torch.stack(history))
ax.axhline(12.0, color="gray", linestyle=":")
ax.set(xlabel="updates", ylabel="time constant (steps)", yscale="log", yticks=(4, 8, 12, 20, 40))
ax.yaxis.set_major_formatter("{x:g}")
ax.minorticks_off()
ax.spines[["top", "right"]].set_visible(False)
plt.show()
