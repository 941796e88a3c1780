"""
Why a deep network is silent, and what to do
============================================

With the weights that PyTorch draws, each layer of a deep spiking network fires less than the one before, and the last
ones never do. ``to_rate_`` scales the weights, layer by layer, until each of them fires at the rate that you ask for.
"""

# %%
import matplotlib.pyplot as plt
import torch
from torch import nn

import spikingtorch as st
from spikingtorch.init import to_rate_

torch.manual_seed(0)
depth = 6
net = nn.Sequential(*[layer for _ in range(depth) for layer in (nn.Linear(100, 100), st.LIF())])
model = st.SpikingNet(net)
x = (torch.rand(32, 50, 100) < 0.3).float()  # samples, steps, neurons


def rates() -> list[float]:
    """Return the firing rate of each layer."""
    with torch.no_grad():
        return [layer["spikes"].mean().item() for layer in st.record(model, x).values()]


before = rates()
to_rate_(model, x, rate=0.1)
after = rates()

# %%
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
numbers = torch.arange(1, depth + 1)
ax.bar(numbers - 0.2, before, 0.4, label="as PyTorch draws the weights")
ax.bar(numbers + 0.2, after, 0.4, label="after to_rate_(model, x, rate=0.1)")
ax.set(xlabel="layer", ylabel="spikes per step", ylim=(0, 0.16))
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False, loc="upper right", ncols=2)
plt.show()
