"""
A membrane that takes off
=========================

The membrane of a ``QuadraticIF`` or ``ExponentialIF`` neuron runs away by itself once it is beyond a point. Five
pulses of nearly the same height start below and above this point. The neuron waits the longer, the closer the pulse
comes to it.
"""

# %%
import matplotlib.pyplot as plt
import torch

import spikingtorch as st

layers = [st.QuadraticIF(returns=("spikes", "u")), st.ExponentialIF(returns=("spikes", "u"))]
heights = [torch.tensor([6.0, 6.35, 6.42, 6.6, 7.2]), torch.tensor([5.6, 6.05, 6.09, 6.25, 6.8])]

figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True, layout="constrained")
for ax, layer, height in zip(axes, layers, heights, strict=True):
    pulse = torch.zeros(80, 1, 5)  # steps, samples, neurons
    pulse[5] = height
    spikes, u = st.MultiStep(layer)(pulse)
    fired = (spikes.cumsum(0) - spikes) > 0
    ax.plot(torch.where(fired, torch.nan, u).squeeze(1))
    ax.axhline(1.0, color="gray", linestyle=":")
    ax.set_title(type(layer).__name__, loc="left", fontsize=10)
    ax.set_xlabel("time (steps)")
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set(ylabel="membrane up to its spike", ylim=(-0.05, 1.3))
plt.show()
