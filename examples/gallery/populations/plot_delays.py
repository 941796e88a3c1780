"""
Delays make a detector of patterns
==================================

Four inputs spike one after the other. A neuron that sees them at once needs delays, the longest for the first input.
Then it fires at one order of the inputs, and is silent at the reverse order, although the weights are the same.
"""

# %%
import matplotlib.pyplot as plt
import torch

import spikingtorch as st
from spikingtorch import plot

inputs = torch.zeros(100, 1, 4)  # steps, samples, inputs
for k in range(4):
    inputs[10 + 5 * k, 0, k] = 1.0  # in order
    inputs[75 - 5 * k, 0, k] = 1.0  # in reverse order
delay = st.Delay(torch.tensor([15.0, 10.0, 5.0, 0.0]))
delayed = st.MultiStep(delay)(inputs)
current = 0.3 * delayed.sum(-1, keepdim=True)
spikes, v = st.MultiStep(st.LIF(tau=4.0, returns=("spikes", "v")))(current)

figure, axes = plt.subplots(3, 1, figsize=(7, 4.6), sharex=True, layout="constrained", height_ratios=(1, 1, 1.4))
for ax, x, title in zip(axes, (inputs, delayed), ("inputs", "after their delays"), strict=False):
    plot.raster(x, batch_first=False, ax=ax)
    ax.set_title(title, loc="left", fontsize=10)
    ax.set(xlabel="", ylabel="input")
plot.traces(v, spikes=spikes, threshold=1.0, batch_first=False, ax=axes[2])
plt.show()
