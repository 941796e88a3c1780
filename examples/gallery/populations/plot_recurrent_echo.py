"""
The echo of a recurrent layer
=============================

With ``recurrent=`` the spikes of a layer come back to it one step later through weights. Where these are weak, the
layer falls silent when its input stops. With stronger ones, the same input leaves an echo.
"""

# %%
# The weights are random with the standard deviation ``strength`` over the root of the number of neurons.
import matplotlib.pyplot as plt
import torch
from torch import nn

import spikingtorch as st
from spikingtorch import plot

neurons, current = 100, torch.zeros(200, 1, 100)  # steps, samples, neurons
torch.manual_seed(1)
current[10:40] = 0.35 * torch.rand(30, 1, neurons)
random = torch.randn(neurons, neurons) / neurons**0.5

figure, axes = plt.subplots(2, 1, figsize=(7, 4.6), sharex=True, layout="constrained")
for ax, strength in zip(axes, (0.5, 2.0), strict=True):
    back = nn.Linear(neurons, neurons, bias=False)
    back.weight.data = strength * random
    with torch.no_grad():
        spikes = st.MultiStep(st.LIF(tau=8.0, recurrent=back))(current)
    ax.axvspan(10, 40, color="gray", alpha=0.2, linewidth=0)
    plot.raster(spikes, batch_first=False, ax=ax)
    ax.set_title(f"strength {strength:g}", loc="left", fontsize=10)
axes[0].set_xlabel("")
plt.show()
