"""
A raster before and after training
==================================

Sixty neurons get random spikes and learn when to fire: their spikes should draw two waves. The loss is the van Rossum
distance to the target. Its time constant shrinks during training, from a rough place to the exact step.
"""

# %%
import matplotlib.pyplot as plt
import torch
from torch import nn

import spikingtorch as st
from spikingtorch import plot
from spikingtorch.losses import van_rossum_distance

torch.manual_seed(0)
neurons, steps = 60, 120
x = (torch.rand(1, steps, 300) < 0.03).float()  # samples, steps, inputs
k = torch.arange(neurons)
target = torch.zeros(1, steps, neurons)
for middle in (40, 85):
    target[0, (middle + 20 * torch.sin(k / 8.0)).round().long(), k] = 1.0

first = nn.Linear(300, neurons, bias=False)
model = st.SpikingNet(nn.Sequential(first, st.LIF(tau=6.0)))
with torch.no_grad():
    first.weight.mul_(4.0)
    before = model(x)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
updates = 300
for update in range(updates):
    loss = van_rossum_distance(model(x), target, tau=20.0 * 0.1 ** (update / updates))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 3.4), sharey=True, layout="constrained")
for ax, spikes, title in zip(axes, (before, model(x), target), ("before", "after", "target"), strict=True):
    plot.raster(spikes, ax=ax)
    ax.set_title(title, loc="left", fontsize=10)
    ax.label_outer()
plt.show()
